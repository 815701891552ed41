"""Weights & Biases: what OpenRLHF is told so that it logs in with the environment's key, and what is missing for it.

OpenRLHF writes to W&B if it is given a key, and uses that key only if W&B has none of its own. So it is given a word that
is no key, W&B takes the real one from the environment, and no argument, no config and no log ever holds it.
"""

import subprocess
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

KEY = "WANDB_API_KEY"
NO_KEY = "from-the-environment"
OFFLINE = {"WANDB_MODE": "offline"}
SEARCH = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


def problems(python: Path | None, environ: Mapping[str, str]) -> Iterator[str]:
    """What keeps a job of this interpreter from writing to W&B, and what to do."""
    if python and not has_package(python, "wandb"):
        yield f"wandb is missing from {python}: run `{python} -m pip install wandb`, or switch it off"
    if not environ.get(KEY) and not OFFLINE.items() <= environ.items():
        yield (
            f"{KEY} is not set: export it where the dashboard is started, or set WANDB_MODE=offline there to keep the "
            "files in the run's folder"
        )


@lru_cache(maxsize=4)
def _found(python: Path, package: str) -> bool:
    return subprocess.run([str(python), "-c", SEARCH, package], capture_output=True).returncode == 0


def has_package(python: Path, package: str) -> bool:
    """Asked again for as long as it is missing: whoever installs it need not start the dashboard anew."""
    found = _found(python, package)
    if not found:
        _found.cache_clear()
    return found
