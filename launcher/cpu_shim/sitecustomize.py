"""Lets OpenRLHF 0.11.2, vLLM 0.29.0 and DeepSpeed 0.19.6 train on a machine without a GPU.

Python imports a module of this name at start-up from PYTHONPATH: in the driver, in every Ray worker, in vLLM's engine.
The launcher puts this folder on PYTHONPATH of CPU jobs only. Nothing is imported early: each patch runs right after its
module's own first import. A patch whose target is gone or takes other parameters stops the job, because a weight sync
that is patched only in part trains from stale rollouts without any error.
"""

import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from types import ModuleType


class StalePatchError(RuntimeError):
    """Not an ImportError: libraries catch those and go on without the module."""


def replace(module: ModuleType, target: str, replacement: Callable) -> Callable:
    """Put `replacement` at `target`, a dotted path inside `module`, and return what was there."""
    *owners, name = target.split(".")
    owner = reduce(lambda parent, child: getattr(parent, child, None), owners, module)
    original = getattr(owner, name, None)
    if original is None:
        raise StalePatchError(f"CPU shim: {module.__name__} has no {target} to patch; see {__file__}")
    here, there = (tuple(inspect.signature(function).parameters) for function in (replacement, original))
    if here != there:
        raise StalePatchError(
            f"CPU shim: {module.__name__}.{target} takes {there}, the patch takes {here}; see {__file__}"
        )
    setattr(owner, name, replacement)
    return original


def cuda_calls(torch: ModuleType) -> None:
    """OpenRLHF asks torch.cuda for the device of every tensor and waits for its kernels.

    Without this the first call ends the job: "Torch not compiled with CUDA enabled", or "Found no NVIDIA driver".
    """

    class Cpu(str):
        """The device "cpu" that reads "0" inside f"cuda:{...}", as the replay buffer writes it and never uses it."""

        def __format__(self, spec: str) -> str:
            return "0"

    cpu = Cpu("cpu")

    def current_device():
        return cpu

    def set_device(device):
        pass

    def synchronize(device=None):
        pass

    def current_stream(device=None):
        pass

    for function in (current_device, set_device, synchronize, current_stream):
        replace(torch, f"cuda.{function.__name__}", function)


def torch_adam(deepspeed_engine: ModuleType) -> None:
    """DeepSpeed compiles an Adam of its own when it first needs one. torch's AdamW needs no compiler.

    Without this the job stops on a machine without a C++ compiler, and waits for it on others.
    """

    def get_optimizer_configuration(self, optimizer_parameters, adam_w_mode, allow_legacy_fallback=False):
        optimizer_parameters["torch_adam"] = True
        return original(self, optimizer_parameters, adam_w_mode, allow_legacy_fallback)

    original = replace(deepspeed_engine, "DeepSpeedEngine.get_optimizer_configuration", get_optimizer_configuration)


def gloo_all_reduce(deepspeed_comm: ModuleType) -> None:
    """On a CPU, DeepSpeed compiles a shared-memory all-reduce when it starts. When it has none, it uses gloo.

    Without this the job stops on a machine without a C++ compiler, and waits for it on others.
    """

    def build_shm_op():
        return None

    replace(deepspeed_comm, "build_shm_op", build_shm_op)


def weight_sync_group(distributed_util: ModuleType) -> None:
    """The group that carries the actor's new weights to vLLM, over gloo.

    Without this it is vLLM's NCCL communicator, which does nothing where there is no GPU and says nothing about it:
    vLLM loads uninitialised memory as its weights, and the step's vllm_kl is nan or far from 0.
    """

    class Gloo:
        def __init__(self, host: str, port: int, rank: int, world_size: int):
            from torch.distributed import ProcessGroupGloo, TCPStore

            store = TCPStore(host, port, world_size, is_master=rank == 0)
            self.group = ProcessGroupGloo(store, rank, world_size)

        def broadcast(self, tensor, src, stream=None):
            self.group.broadcast(tensor, src).wait()

    def stateless_init_process_group(master_address, master_port, rank, world_size, device):
        return Gloo(master_address, master_port, rank, world_size)

    replace(distributed_util, "stateless_init_process_group", stateless_init_process_group)


def weight_sync_device(vllm_worker_wrap: ModuleType) -> None:
    """The vLLM side of the weight sync receives into a tensor on "cuda".

    Without this the first sync ends the job: "Torch not compiled with CUDA enabled", or "Found no NVIDIA driver".
    """
    from torch.overrides import TorchFunctionMode

    class OnCpu(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if kwargs.get("device") == "cuda":
                kwargs["device"] = "cpu"
            return function(*args, **kwargs)

    def update_weight(self, name, dtype, shape, empty_cache=False):
        with OnCpu():
            return original(self, name, dtype, shape, empty_cache)

    original = replace(vllm_worker_wrap, "WorkerWrap.update_weight", update_weight)


def synced_linear(vllm_layers: ModuleType) -> None:
    """vLLM's linear layers compute with a packed copy of their weight on a CPU and drop the weight itself.

    Without this a synced weight finds no parameter to load into, and the output layer, which keeps its weight, goes on
    with the packed copy of the old one.
    """
    from torch.nn.functional import linear

    def dispatch_cpu_unquantized_gemm(layer, remove_weight):
        if layer.weight.ndim != 2:
            return original(layer, remove_weight)
        layer.cpu_linear = linear

    original = replace(vllm_layers, "dispatch_cpu_unquantized_gemm", dispatch_cpu_unquantized_gemm)


# Module -> what to do with it right after its first import.
PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "torch": cuda_calls,
    "deepspeed.comm.torch": gloo_all_reduce,
    "deepspeed.runtime.engine": torch_adam,
    "openrlhf.utils.distributed_util": weight_sync_group,
    "openrlhf.trainer.ray.vllm_worker_wrap": weight_sync_device,
    "vllm.model_executor.layers.utils": synced_linear,
}


class PatchAfterImport:
    """A finder in front of Python's own: it finds what they find, and patches the modules of PATCHES once executed."""

    def find_spec(self, name: str, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        packages = {module.partition(".")[0] for module in PATCHES}
        if name not in PATCHES and name not in packages:
            return None
        finders = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)
        if spec is not None and name in packages:
            require_modules(name, spec)
        if spec is not None and name in PATCHES:
            patch_after_execution(spec, PATCHES[name])
        return spec


def require_modules(package: str, spec: importlib.machinery.ModuleSpec) -> None:
    """A module that has moved would never be imported, and so never be patched."""
    (folder,) = spec.submodule_search_locations
    for module in PATCHES:
        top, *rest = module.split(".")
        if top == package and rest and not Path(folder, *rest).with_suffix(".py").is_file():
            raise StalePatchError(f"CPU shim: {folder} has no module {module} to patch; see {__file__}")


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


sys.meta_path.insert(0, PatchAfterImport())
run_hidden_sitecustomize()
