"""Lets OpenRLHF 0.11.2, vLLM 0.29.0 and DeepSpeed 0.19.6 train on a machine without a GPU.

A weight sync that is patched only in part trains from stale rollouts without any error.
"""

from types import ModuleType

import bf16_products
from import_patches import Patches, replace


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


def on_cpu(torch: ModuleType) -> None:
    cuda_calls(torch)
    bf16_products.install_if_needed(torch)


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


PATCHES: Patches = {
    "torch": on_cpu,
    "deepspeed.comm.torch": gloo_all_reduce,
    "deepspeed.runtime.engine": torch_adam,
    "openrlhf.utils.distributed_util": weight_sync_group,
    "openrlhf.trainer.ray.vllm_worker_wrap": weight_sync_device,
    "vllm.model_executor.layers.utils": synced_linear,
}
