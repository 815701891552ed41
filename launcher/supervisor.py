"""`python -m launcher.supervisor RUN`: the process that sees a run through to its end. A start begins it by itself."""

import signal
import sys

from launcher import rundir, supervise
from launcher.runs import Runs


def main(id: str) -> None:
    # a stop begins with SIGINT, which a shell has ignored in what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
    here = Runs.here()
    try:
        supervise.supervise(rundir.find(here.folder, id), here.store_path)
    finally:
        here.advance()


if __name__ == "__main__":
    main(sys.argv[1])
