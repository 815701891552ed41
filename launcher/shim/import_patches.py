"""Replaces functions of other packages right after the import of their modules, which are not imported any earlier.

A patch whose target is gone or takes other parameters stops the job: one that is applied only in part could train on
nonsense without any error.
"""

import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from types import ModuleType

Patches = Mapping[str, Callable[[ModuleType], None]]
"""Module -> what to do with it right after its first import."""


class StalePatchError(RuntimeError):
    """Not an ImportError: libraries catch those and go on without the module."""


def replace(module: ModuleType, target: str, replacement: Callable) -> Callable:
    """Put `replacement` at `target`, a dotted path inside `module`, and return what was there."""
    *owners, name = target.split(".")
    owner = reduce(lambda parent, child: getattr(parent, child, None), owners, module)
    original = getattr(owner, name, None)
    if original is None:
        raise StalePatchError(f"shim: {module.__name__} has no {target} to patch; see {Path(__file__).parent}")
    here, there = (tuple(inspect.signature(function).parameters) for function in (replacement, original))
    if here != there:
        raise StalePatchError(
            f"shim: {module.__name__}.{target} takes {there}, the patch takes {here}; see {Path(__file__).parent}"
        )
    setattr(owner, name, replacement)
    return original


class PatchAfterImport:
    """A finder in front of Python's own: it finds what they find, and patches these modules once executed."""

    def __init__(self, patches: Patches):
        self.patches = patches
        self.packages = {module.partition(".")[0] for module in patches}

    def find_spec(self, name: str, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        if name not in self.patches and name not in self.packages:
            return None
        finders = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)
        if spec is not None and name in self.packages:
            require_modules(self.patches, name, spec)
        if spec is not None and name in self.patches:
            patch_after_execution(spec, self.patches[name])
        return spec


def require_modules(patches: Patches, package: str, spec: importlib.machinery.ModuleSpec) -> None:
    """A module that has moved would never be imported, and so never be patched."""
    (folder,) = spec.submodule_search_locations
    for module in patches:
        top, *rest = module.split(".")
        if top == package and rest and not Path(folder, *rest).with_suffix(".py").is_file():
            raise StalePatchError(f"shim: {folder} has no module {module} to patch; see {Path(__file__).parent}")


def patch_after_execution(spec: importlib.machinery.ModuleSpec, patch: Callable[[ModuleType], None]) -> None:
    execute = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        patch(module)

    spec.loader.exec_module = exec_module


def run_hidden_sitecustomize() -> None:
    """The sitecustomize that this one hides, for example the system Python's own."""
    here = Path(__file__).parent
    spec = importlib.machinery.PathFinder.find_spec(
        "sitecustomize", [entry for entry in sys.path if Path(entry).resolve() != here]
    )
    if spec is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
