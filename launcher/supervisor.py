"""`python -m launcher.supervisor RUN`: the process that sees a run through to its end. A start begins it by itself."""

import sys

sys.modules["pandas"] = None  # sqlite-utils loads it where it is installed: half a second and 50 MB, for nothing here

from launcher import rundir, supervise  # noqa: E402
from launcher.runs import Runs  # noqa: E402


def main(id: str) -> None:
    here = Runs.here()
    try:
        supervise.supervise(rundir.find(here.folder, id), here.store_path)
    finally:
        here.advance()


if __name__ == "__main__":
    main(sys.argv[1])
