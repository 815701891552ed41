"""What stands in the way of a run, looked at before it is created. Each problem names the setting that it belongs to.

Every check takes well under a second, but for the hub's answer: see `launcher.hub`. No port is looked at: a run needs none
that is fixed, for Ray takes free ones.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from pydantic import ValidationError

from launcher import (
    checkpoints,
    devices,
    engine,
    hub,
    judge_check,
    memory,
    memory_advice,
    model_shape,
    prepare,
    ray_cluster,
    rundir,
    state,
    supervise,
    wandb,
)
from launcher.config import DEMO_MODEL, RunConfig
from launcher.reading import Unreadable
from launcher.runs import DEMO_MODEL_FOLDER, Runs, config_of
from launcher.settings import FIELDS
from medical_team import data, demo_model, demo_world, medec
from medical_team.judge import model_files
from medical_team.judge.model_files import JudgeError
from medical_team.judge.settings import LOCAL

GB = 1e9
ENGINE_SECONDS = 10.0
"""How long the engine's versions are taken as they were."""
CPU_JOB_GB = 5.4
"""Peak of a CPU job with the demo model: 15 processes, shared memory counted once. Any other model adds to it."""
STATE_BYTES, CHECKPOINT_BYTES, MODEL_BYTES = 16, 14, 2
"""Bytes a parameter: what training holds (bf16 weights and gradients, fp32 master weights and gradients, Adam's two
moments), what DeepSpeed writes at a checkpoint (all but the gradients), and a saved bf16 model."""
RUN_GB = 0.5
"""Logs and games of a run, by far."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
MODEL_FILES = {"config.json": ("config.json",), "weights": WEIGHTS, "a tokenizer": ("tokenizer*",)}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


class Problem(NamedTuple):
    field: str | None
    """Dotted key of the setting; None where no single one is to blame."""
    text: str
    """What is wrong, and what to do."""
    level: Literal["error", "warning"] = "error"
    """A run with an error cannot start."""


def check(config: RunConfig, runs: Runs) -> list[Problem]:
    """All that can be told before the run is created, errors first."""
    found = [problem for look in CHECKS for problem in look(config, runs)]
    return sorted(found, key=lambda problem: problem.level != "error")


def line(problem: Problem) -> str:
    """The problem as a line of the command line."""
    named = problem.field is None or problem.text.startswith(problem.field)
    return problem.text if named else f"{problem.field}: {problem.text}"


def of_error(error: ValidationError) -> list[Problem]:
    """RunConfig's own objections, one by one, each at the setting that its text names."""
    return [
        Problem(_setting(fault["loc"], text), text)
        for fault in error.errors()
        for text in _texts(fault["loc"], fault["msg"].removeprefix("Value error, "))
    ]


def _texts(loc: tuple[int | str, ...], message: str) -> list[str]:
    """RunConfig joins what its own checks say; a message from inside a section is one."""
    return [message] if loc else message.split("; ")


def _setting(loc: tuple[int | str, ...], text: str) -> str | None:
    where = ".".join(str(step) for step in loc if isinstance(step, str))
    if where in FIELDS:
        return where
    inside = f"{where}." if where else ""
    named = (inside + word.rstrip(".") for word in re.findall(r"[a-z_.]+", text))
    return next((name for name in named if name in FIELDS and "." in name), None)


class EngineReport(NamedTuple):
    problems: tuple[str, ...]
    engine: engine.Engine | None


def engine_report(device: engine.Device) -> EngineReport:
    """The device's engine by presence and versions, as it was within the last ENGINE_SECONDS: asking it starts a process."""
    return _engine_report(device, os.environ.get("ENGINE_PYTHON"), int(time.monotonic() / ENGINE_SECONDS))


@lru_cache(maxsize=4)
def _engine_report(device: engine.Device, named: str | None, moment: int) -> EngineReport:
    problems = engine.quick_check(device)
    works = not any("does not run" in problem for problem in problems)
    return EngineReport(tuple(problems), engine.find(device) if works else None)


def _engine(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    if config.cluster.ray_address:
        yield from (Problem("cluster.ray_address", problem) for problem in ray_cluster.client_problems(config.device))
        return
    problems, found = engine_report(config.device)
    yield from (Problem("device", problem) for problem in problems)
    if config.memory.attention == "flash_attention_2" and found and "flash-attn" not in found.versions:
        yield Problem("memory.attention", f"flash-attn is missing from {found.python}: choose sdpa, or install it")


def _wandb(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    if config.logging.wandb.enabled and not config.cluster.ray_address:
        found = engine_report(config.device).engine
        for text in wandb.problems(found.python if found else None, os.environ):
            yield Problem("logging.wandb.enabled", text)


class Gpu(NamedTuple):
    name: str
    total: int
    free: int
    """Bytes."""


def gpus(nvml=None) -> list[Gpu]:
    """What NVML tells of the GPUs that a run may take: all of this machine, or those of CUDA_VISIBLE_DEVICES.

    nvml: the module pynvml, or what answers like it. Errors: pynvml.NVMLError, mostly because there is no driver.
    """
    if nvml is None:
        import pynvml as nvml

    nvml.nvmlInit()
    try:
        names = [name.removeprefix("gpu-") for name in devices.present(devices.GPUS) or ()]
        handles = [
            nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else nvml.nvmlDeviceGetHandleByUUID(name)
            for name in names
        ]
        memory = [nvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
        return [
            Gpu(nvml.nvmlDeviceGetName(handle), held.total, held.free)
            for handle, held in zip(handles, memory, strict=True)
        ]
    finally:
        nvml.nvmlShutdown()


def gpu_total() -> int | None:
    """Bytes of the first GPU that a run may take; None if no driver answers."""
    import pynvml

    try:
        return gpus()[0].total
    except (pynvml.NVMLError, IndexError):
        return None


def _device(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    if config.device == "cpu" or config.cluster.ray_address:
        return
    import pynvml

    try:
        found = gpus()
    except pynvml.NVMLError as error:
        yield Problem("device", f"no NVIDIA GPU answers here ({error}): choose cpu, or install the driver")
        return
    yield from (Problem("device", text) for text in engine.machine_problems(config.device))
    yield from gpu_problems(config, found, waits=any(_other_run(config, runs)))


def _ray(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    if config.cluster.ray_address is None:
        if config.cluster.nodes > 1:
            text = "several machines are a Ray cluster: give the address of its head, such as http://head:8265"
            yield Problem("cluster.ray_address", text)
        return
    own = {one.address for card in psutil.net_if_addrs().values() for one in card}
    try:
        found = ray_cluster.ask(config.cluster.ray_address)
    except ray_cluster.Silent as error:
        yield Problem("cluster.ray_address", str(error))
        return
    yield from (Problem(*one) for one in ray_cluster.trouble(config, found, frozenset(own), runs.folder))


def gpu_problems(config: RunConfig, found: list[Gpu], waits: bool = False) -> Iterator[Problem]:
    """What these GPUs are too few or too small for, as far as it is known. A run that waits may find more memory free."""
    needed = config.cluster.gpus_per_node
    if config.cluster.nodes == 1 and not config.memory.colocate_all:
        references = config.reference_gpus if config.train.kl_coefficient else 0
        needed += references + config.cluster.rollout_engines * config.cluster.tensor_parallel
    if needed > len(found):
        yield Problem("cluster.gpus_per_node", f"the run takes {needed} GPUs of this machine, which has {len(found)}")
    for gpu in found[:needed]:
        share = config.memory.vllm_share * gpu.total
        if share > gpu.free:
            free = f"{gpu.name} has {gpu.free / GB:.1f} of {gpu.total / GB:.1f} GB free"
            told = f"{free}, and vLLM takes {share / GB:.1f}: lower it, or free the GPU"
            yield Problem("memory.vllm_share", told, "warning" if waits else "error")
    if found:
        smallest = min(found[:needed], key=lambda gpu: (gpu.total, gpu.free))
        yield from plan_problems(config, smallest, waits, psutil.virtual_memory().available)


ROUGH = 0.1
"""How far an estimate may be off: a run that lies no further above the GPU's memory is warned of, not refused."""


def plan_problems(config: RunConfig, gpu: Gpu, waits: bool = False, main: int | None = None) -> Iterator[Problem]:
    """What the memory plan says, if the policy's shape is known. gpu: the smallest. main: bytes of main memory that are
    free. A run that waits may find more memory free of either kind."""
    try:
        shape = model_shape.of_model(config.policy)
    except model_shape.UnknownShape:
        return
    work = memory.Workload(config, shape, gpu.total, memory.judge_of(config.judge), main=None if waits else main)
    plan = memory.plan(work)
    yield from _too_large(work, plan, gpu)
    if not waits and plan.fits and config.memory.vllm_share * gpu.total <= gpu.free < plan.peak:
        held, free = f"the run will hold about {plan.peak / GB:.1f} GB", f"{gpu.name} has {gpu.free / GB:.1f}"
        text = f"{held}, {free} of {gpu.total / GB:.1f} GB free: end what holds the rest"
        yield Problem("device", text, "warning" if plan.peak <= gpu.free * (1 + ROUGH) else "error")
    needed = plan.host + _judge_on_cpu(config)
    if work.main is not None and needed > work.main:
        held = f"the run will hold about {needed / GB:.1f} GB of the machine's own memory"
        text = f"{held}, and {work.main / GB:.1f} GB are free: close other programs, or keep less there"
        yield Problem(_moved(config), text, "warning")


def _judge_on_cpu(config: RunConfig) -> int:
    on_cpu = config.judge.kind == LOCAL and config.judge.device == "cpu"
    return int(model_files.memory_bytes(config.judge.model, config.judge.precision) or 0) if on_cpu else 0


def _moved(config: RunConfig) -> str:
    """The setting that takes the machine's own memory in place of the GPU's."""
    switches = ("adam_offload", "adam_stream", "deepspeed_sleep")
    return next((f"memory.{name}" for name in switches if getattr(config.memory, name)), "judge.device")


def _too_large(work: memory.Workload, plan: memory.Plan, gpu: Gpu) -> Iterator[Problem]:
    if plan.fits:
        return
    advice = memory_advice.advise(work)
    steps = ", ".join(f"{step.setting} {json.dumps(step.value)}" for step in advice.steps)
    remedy = f"set {steps}" if advice.fits else "take a smaller policy, shorter sequences, or more GPUs"
    phase = max(memory.Phase, key=plan.total)
    held = f"the run will hold about {plan.peak / GB:.1f} GB in {phase}, {gpu.name} has {gpu.total / GB:.1f} GB"
    if plan.peak <= plan.limit:
        held = f"vLLM needs a share of {plan.share_needed:g} for its weights and one sequence of the greatest length"
    level = "warning" if plan.limit < plan.peak <= plan.limit * (1 + ROUGH) else "error"
    yield Problem(advice.steps[0].setting if advice.fits else "policy", f"{held}: {remedy}", level)


def _memory(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    yield from memory_problems(config, psutil.virtual_memory().available)


def memory_problems(config: RunConfig, free: int) -> Iterator[Problem]:
    """free: bytes. What a run on a GPU takes of the machine's own memory is `plan_problems`' to say."""
    if config.device == "cuda" or config.cluster.ray_address:
        return
    demo = config.policy == DEMO_MODEL or (Path(config.policy) / "skill.json").exists()
    parameters = 0 if demo else local_parameters(config.policy) or 0
    needed = CPU_JOB_GB * GB + parameters * (STATE_BYTES + MODEL_BYTES)
    if free < needed:
        text = f"a run needs about {needed / GB:.1f} GB of memory and {free / GB:.1f} GB are free: close other programs"
        yield Problem("device", text, "warning")


def _disk(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    yield from disk_problems(config, runs.folder, shutil.disk_usage(runs.folder).free)


def disk_problems(config: RunConfig, folder: Path, free: int) -> Iterator[Problem]:
    """free: bytes. A model that is not on this machine counts nothing: its size is not known."""
    parameters = local_parameters(config.policy) or 0
    saves = config.train.steps // config.checkpoint.steps if config.checkpoint.steps else 0
    whole = min(checkpoints.kept(config), saves)  # an old one is deleted before the next is saved
    models = min(checkpoints.kept(config) + 1, saves) if checkpoints.has_models(config) else 0  # afterwards
    needed = RUN_GB * GB + parameters * (MODEL_BYTES * (1 + models) + CHECKPOINT_BYTES * whole)
    if free < needed:
        text = f"{whole} checkpoints and the model take about {needed / GB:.1f} GB"
        yield Problem("checkpoint.keep", f"{text}, {folder} has {free / GB:.1f} GB free: keep fewer, or make room")


def _data(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    kinds, held_out = set(config.custom_configs.error_types), config.data.eval_cases if config.eval.steps else 0
    if config.data.source == "demo":
        field, count = "data.cases", sum(kind in kinds for kind in islice(cycle(demo_world.KINDS), config.data.cases))
    else:
        field = "data.path"
        try:
            found = prepare.cases("medec", config.data.path, 0, config.seed)
        except (medec.DataError, OSError) as error:
            yield Problem(field, str(error))
            return
        count = len(data.deduplicate(data.select(found, kinds)))
    if count <= held_out:
        text = f"{count} cases have one of the chosen error types, and {held_out} are held out for evaluation"
        yield Problem(
            "data.eval_cases" if count else field,
            f"{text}: none is left to train on; hold out fewer, or choose more types",
        )


def _policy(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    folder = Path(config.policy)
    if config.policy == DEMO_MODEL or (folder / "skill.json").exists():
        yield from _demo(config, folder)
        return
    if config.prompt_style == "short":
        yield Problem("prompt_style", "only the demo model was taught the short prompts: choose full", "warning")
    if folder.is_dir():
        missing = [name for name, files in MODEL_FILES.items() if not any(any(folder.glob(file)) for file in files)]
        if missing:
            yield Problem("policy", f"{folder} lacks {', '.join(missing)}: give the folder of a whole model")
    elif not HUB_NAME.fullmatch(config.policy):
        yield Problem("policy", f"there is no folder {config.policy}, and no hub name looks like that: give org/name")
    elif refusal := hub.refusal(config.policy):
        yield Problem("policy", refusal)


def _judge(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    settings = config.judge
    try:
        settings.token()
        yield from _local_judge(config) if settings.kind == LOCAL else ()
        found = judge_check.standing(settings, runs.folder)
    except JudgeError as error:
        yield Problem("judge.token_variable" if "token_variable" in str(error) else "judge.url", str(error))
        return
    if found and found.verdict == "ok":
        return
    if found:
        level = "warning" if settings.start_anyway else "error"
        hint = "" if settings.start_anyway else "; switch judge.start_anyway on to go on all the same"
        yield Problem("judge.start_anyway", found.text + hint, level)


def _local_judge(config: RunConfig) -> Iterator[Problem]:
    settings, place = config.judge, model_files.folder(config.judge.model)
    if place is None and not HUB_NAME.fullmatch(settings.model):
        yield Problem(
            "judge.model", f"there is no folder {settings.model}, and no hub name looks like that: give org/name"
        )
    elif refusal := model_files.refusal(settings.model) or (None if place else hub.refusal(settings.model)):
        yield Problem("judge.model", refusal)
    if settings.precision in ("8bit", "4bit"):
        found = engine_report(config.device).engine
        if found and "bitsandbytes" not in found.versions:
            text = f"{settings.precision} needs the package bitsandbytes, which {found.python} lacks"
            yield Problem("judge.precision", f"{text}: install it there, or choose bf16")
    yield from judge_memory_problems(config, psutil.virtual_memory().available)


def judge_memory_problems(config: RunConfig, free: int) -> Iterator[Problem]:
    """free: bytes of the machine's memory, which a judge on the CPU takes. What a GPU has left is `gpu_problems`' to say."""
    settings = config.judge
    on_cpu = settings.device == "cpu" or (settings.device == "auto" and config.device == "cpu")
    needed = model_files.memory_bytes(settings.model, settings.precision)
    if on_cpu and needed and needed > free:
        text = f"{settings.model} takes {needed / GB:.1f} GB and {free / GB:.1f} GB of memory are free"
        yield Problem("judge.model", f"{text}: choose a smaller model, or run it elsewhere with judge.kind server")


def _demo(config: RunConfig, folder: Path) -> Iterator[Problem]:
    problem = demo_model.check(DEMO_MODEL_FOLDER if config.policy == DEMO_MODEL else folder)
    if problem:
        yield Problem("policy", problem)
    if config.prompt_style == "full":
        yield Problem("prompt_style", "the demo model was taught the short prompts alone: choose short", "warning")


def local_parameters(policy: str) -> int | None:
    """Parameters of a model in a local folder, from the size of its 16-bit weights; None if there is no such folder."""
    folder = DEMO_MODEL_FOLDER if policy == DEMO_MODEL else Path(policy)
    sizes = [file.stat().st_size for pattern in WEIGHTS for file in folder.glob(pattern)] if folder.is_dir() else []
    return sum(sizes) // MODEL_BYTES if sizes else None


def _checkpoints(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    if config.checkpoint.steps > config.train.steps:
        text = f"no checkpoint is saved in {config.train.steps} steps: the run could not be resumed"
        yield Problem("checkpoint.steps", text, "warning")
    if config.eval.steps > config.train.steps:
        yield Problem("eval.steps", f"nothing is evaluated in {config.train.steps} steps", "warning")


def _other_run(config: RunConfig, runs: Runs) -> Iterator[Problem]:
    for run in rundir.every(runs.folder):
        try:
            if _busy(state.read(run)) and devices.line(config_of(run)) == devices.line(config):
                told = f"run {run.id} is using the {config.device}: this one will wait in the queue until it has ended"
                yield Problem("device", told, "warning")
        except Unreadable as error:
            if _held(run):
                text = f"run {run.id} is running, and whether it is using the {config.device} is not known: {error}"
                yield Problem("device", text, "warning")


def _busy(now: state.State | None) -> bool:
    return now is not None and now.state == state.RUNNING and (state.supervised(now) or state.training(now))


def _held(run: rundir.RunDir) -> bool:
    """Somebody supervises the run."""
    try:
        with supervise.sole(run):
            return False
    except supervise.Busy:
        return True


CHECKS: tuple[Callable[[RunConfig, Runs], Iterator[Problem]], ...] = (
    _engine, _device, _ray, _memory, _disk, _data, _policy, _judge, _checkpoints, _wandb, _other_run,
)  # fmt: skip
