"""Python imports a module of this name at start-up from PYTHONPATH: in the driver, in every Ray worker, in vLLM's engine.

The launcher puts this folder on PYTHONPATH of jobs only.
"""

import os
import sys

from import_patches import PatchAfterImport, run_hidden_sitecustomize

if os.environ.get("DS_ACCELERATOR") == "cpu":
    from cpu_patches import PATCHES
else:
    from cuda_patches import PATCHES

sys.meta_path.insert(0, PatchAfterImport(PATCHES))
run_hidden_sitecustomize()
