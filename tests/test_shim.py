"""The shim in Python processes of its own: on small packages of the patched names, and on the installed engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import engine

SHIM = engine.ROOT / "launcher" / "shim"


def python(code: str, *path: Path, interpreter: Path | str = sys.executable) -> subprocess.CompletedProcess:
    env = {**os.environ, "DS_ACCELERATOR": "cpu", "PYTHONPATH": os.pathsep.join(map(str, (SHIM, *path)))}
    return subprocess.run([str(interpreter), "-c", code], env=env, capture_output=True, text=True)


def module(root: Path, name: str, text: str) -> None:
    *packages, last = name.split(".")
    folder = root
    for package in packages:
        folder = folder / package
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    (folder / f"{last}.py").write_text(text)


@pytest.fixture
def openrlhf(tmp_path):
    """A package with the two modules of OpenRLHF that are patched, one with a function that has changed."""
    module(tmp_path, "openrlhf.utils.distributed_util", "def stateless_init_process_group(master_address, port): pass")
    module(tmp_path, "openrlhf.trainer.ray.vllm_worker_wrap", "class WorkerWrap: pass")
    return tmp_path


def test_nothing_is_imported_at_start():
    ran = python(
        "import sys; print([m for m in ('torch', 'ray', 'vllm', 'deepspeed', 'openrlhf') if m in sys.modules])"
    )
    assert ran.stdout.strip() == "[]"


def test_a_patched_function_is_replaced_in_every_module_that_imports_it(tmp_path, openrlhf):
    module(
        tmp_path,
        "openrlhf.utils.distributed_util",
        "def stateless_init_process_group(master_address, master_port, rank, world_size, device): return 'nccl'",
    )
    code = "from openrlhf.utils.distributed_util import stateless_init_process_group as f; print(f.__module__)"
    assert python(code, tmp_path).stdout.strip() == "cpu_patches"


def test_other_parameters_stop_the_import(openrlhf):
    ran = python("import openrlhf.utils.distributed_util", openrlhf)
    assert ran.returncode == 1
    assert (
        "StalePatchError: shim: openrlhf.utils.distributed_util.stateless_init_process_group takes "
        "('master_address', 'port'), the patch takes ('master_address', 'master_port', 'rank', 'world_size', 'device')"
    ) in ran.stderr


def test_a_renamed_function_stops_the_import(tmp_path, openrlhf):
    module(tmp_path, "openrlhf.utils.distributed_util", "def create_process_group(): pass")
    ran = python("import openrlhf.utils.distributed_util", tmp_path)
    assert "shim: openrlhf.utils.distributed_util has no stateless_init_process_group to patch" in ran.stderr


def test_a_moved_module_stops_the_import_of_its_package(tmp_path, openrlhf):
    (tmp_path / "openrlhf" / "utils" / "distributed_util.py").rename(tmp_path / "openrlhf" / "utils" / "groups.py")
    ran = python("import openrlhf", tmp_path)
    assert "has no module openrlhf.utils.distributed_util to patch" in ran.stderr


def test_code_that_shrugs_off_a_missing_module_does_not_shrug_off_a_stale_patch(openrlhf):
    ran = python("try:\n import openrlhf.utils.distributed_util\nexcept ImportError:\n pass", openrlhf)
    assert ran.returncode == 1


def test_a_sitecustomize_that_the_shim_hides_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sitecustomize; print(len(sitecustomize.PATCHES))")
    assert int(python("", tmp_path).stdout) > 0


def test_flash_attn_s_stand_in_says_what_to_do():
    stub = engine.ROOT / "launcher" / "flash_attn_stub"
    code = "from flash_attn.bert_padding import unpad_input; unpad_input(1)"
    assert "RuntimeError: flash-attn is not installed: use --ds.attn_implementation sdpa" in python(code, stub).stderr
    assert "ModuleNotFoundError" in python("import flash_attn.ops.triton.cross_entropy", stub).stderr


# On the installed engine

SYNC = """
import sys, threading, torch
from openrlhf.utils.distributed_util import stateless_init_process_group as group
port, got = int(sys.argv[1]), torch.zeros(3, dtype=torch.bfloat16)
def receive():
    group("127.0.0.1", port, 1, 2, "cpu").broadcast(got, src=0, stream=torch.cuda.current_stream())
thread = threading.Thread(target=receive)
thread.start()
group("127.0.0.1", port, 0, 2, "cpu").broadcast(torch.tensor([1, 2, 3], dtype=torch.bfloat16), src=0)
thread.join()
print(got.tolist())
"""


@pytest.fixture
def installed():
    found = engine.find("cpu")
    if found is None:
        pytest.skip(engine.missing("cpu"))
    return found


def in_engine(found: engine.Engine, code: str, *arguments: str) -> str:
    kept = {key: value for key, value in os.environ.items() if key not in engine.UNSET["cpu"]}
    env = kept | engine.environment("cpu", found.versions)
    ran = subprocess.run([str(found.python), "-c", code, *arguments], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.engine
def test_every_patch_fits_the_installed_engine(installed):
    code = (
        "import importlib, sitecustomize\nfor name in sitecustomize.PATCHES: importlib.import_module(name); print(name)"
    )
    assert in_engine(installed, code).split()[-1] == "vllm.model_executor.layers.utils"


@pytest.mark.engine
def test_new_weights_travel_from_the_actor_to_vllm(installed, unused_port):
    assert in_engine(installed, SYNC, str(unused_port)).strip().endswith("[1.0, 2.0, 3.0]")


@pytest.mark.engine
def test_a_linear_layer_of_vllm_computes_with_a_weight_that_was_changed_after_loading(installed):
    code = """
import torch
from vllm.model_executor.layers.utils import cpu_unquantized_gemm, dispatch_cpu_unquantized_gemm
layer = torch.nn.Linear(64, 64, bias=False, dtype=torch.bfloat16)
dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
layer.weight.data.copy_(torch.eye(64))
x = torch.randn(5, 64, dtype=torch.bfloat16)
print(torch.equal(cpu_unquantized_gemm(layer, x, layer.weight), x))
"""
    assert in_engine(installed, code).split()[-1] == "True"


PRODUCTS = """
import bf16_products, torch
from torch.nn.functional import linear, scaled_dot_product_attention as attention
assert bool(bf16_products.installed) is not torch.ops.mkldnn._is_mkldnn_bf16_supported()
if not bf16_products.installed:
    bf16_products.install(torch)
torch.manual_seed(0)

def computed(compute, dtype, operands, outcome):
    operands = [one.to(dtype, copy=True).requires_grad_() for one in operands]
    found = compute(*operands)
    found.backward(outcome.to(dtype))
    return [found, *(one.grad for one in operands)]

def compare(compute, *shapes):
    operands = [torch.randn(shape).bfloat16() for shape in shapes]
    outcome = torch.randn(compute(*operands).shape).bfloat16()
    half, whole = (computed(compute, dtype, operands, outcome) for dtype in (torch.bfloat16, torch.float32))
    assert {one.dtype for one in half} == {torch.bfloat16} and {one.dtype for one in whole} == {torch.float32}
    return half, [one.bfloat16() for one in whole]

def masked(q, k, v):
    return attention(q, k, v, attn_mask=torch.tril(torch.ones(6, 6, dtype=torch.bool)))

def causal(q, k, v):
    return attention(q, k, v, is_causal=True)

for compute, *shapes in (
    (linear, (5, 7, 32), (9, 32), (9,)), (linear, (5, 7, 32), (9, 32)), (torch.matmul, (3, 5, 8), (3, 8, 4)),
    (lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2.0), (5, 4), (5, 8), (8, 4)),
    (torch.baddbmm, (3, 5, 4), (3, 5, 8), (3, 8, 4)),
    *((compute, *[(2, 4, 6, 16)] * 3) for compute in (attention, masked, causal)),
):
    half, whole = compare(compute, *shapes)
    assert torch.equal(half[0], whole[0])
    for gradient, other in zip(half[1:], whole[1:]):
        torch.testing.assert_close(gradient, other, rtol=0.02, atol=0.02)
with torch.inference_mode():
    product = torch.randn(4, 8).bfloat16() @ torch.randn(8, 3).bfloat16()
print(product.dtype, (torch.ones(2, 3, dtype=torch.int64) @ torch.ones(3, 2, dtype=torch.int64)).tolist())
"""


@pytest.mark.engine
def test_a_product_of_bfloat16_is_that_of_fp32_rounded_once_and_the_gradients_agree(installed):
    assert in_engine(installed, PRODUCTS).strip() == "torch.bfloat16 [[3, 3], [3, 3]]"


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# The patches of GPU jobs, on the CPU

TRAIN = """
import json, os, sys
import torch, deepspeed
from openrlhf.utils.deepspeed.deepspeed_utils import get_optimizer_grouped_parameters, get_train_ds_config
torch.manual_seed(0)
os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[1]}
deepspeed.init_distributed("gloo")
model = torch.nn.Sequential(*[torch.nn.Linear(16, 16) for _ in range(6)])
groups = get_optimizer_grouped_parameters(model, 0.01)
adam = {"type": "Adam", "params": {"lr": 1e-3, "torch_adam": True}}
config = get_train_ds_config(False, adam_offload=False, stage=2, optim_config=adam)
config |= {"train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}
engine, *_ = deepspeed.initialize(model=model, model_parameters=groups, config=config)
for _ in range(10):
    loss = engine(torch.randn(4, 16, dtype=torch.bfloat16)).square().mean()
    engine.backward(loss)
    engine.step()
state = getattr(engine.optimizer, "streamed_state", None)
homes = {tensor.data_ptr() for tensor in state.homes.values()} if state else set()
kept = {value.data_ptr() for states in engine.optimizer.optimizer.state.values() for value in states.values() if value.ndim}
kept |= {master.data_ptr() for master in engine.optimizer.single_partition_of_fp32_groups}
print(json.dumps({"groups": [sum(p.numel() for p in group["params"]) for group in groups], "at home": kept <= homes,
                  "weights": [p.float().sum().item() for p in model.parameters()]}))
"""
CUDA_PATCHES = """
import sys, import_patches, cuda_patches
cuda_patches.GROUP = 500
finder = next(one for one in sys.meta_path if isinstance(one, import_patches.PatchAfterImport))
finder.__init__({**finder.patches, **cuda_patches.PATCHES})
"""


@pytest.mark.engine
def test_an_update_in_groups_and_a_streamed_one_give_the_weights_of_the_plain_one(installed, unused_port, monkeypatch):
    monkeypatch.setenv("SECOND_OPINION_ADAM_STREAM", "")

    def trained(code: str) -> dict:
        return json.loads(in_engine(installed, code, str(unused_port)).splitlines()[-1])

    plain, grouped = trained(TRAIN), trained(CUDA_PATCHES + TRAIN)
    monkeypatch.setenv("SECOND_OPINION_ADAM_STREAM", "1")
    streamed = trained(CUDA_PATCHES + TRAIN)
    assert plain["groups"] == [6 * 256, 6 * 16] and grouped["groups"] == [256] * 6 + [6 * 16]
    assert plain["weights"] == grouped["weights"] == streamed["weights"]
    assert (plain["at home"], grouped["at home"], streamed["at home"]) == (False, False, True)


@pytest.mark.engine
def test_every_patch_of_a_gpu_job_fits_the_installed_engine(installed, monkeypatch):
    monkeypatch.setenv("SECOND_OPINION_ADAM_STREAM", "1")
    code = (
        CUDA_PATCHES + "import importlib\nfor name in cuda_patches.PATCHES: importlib.import_module(name); print(name)"
    )
    assert in_engine(installed, code).split()[-1] == "deepspeed.runtime.zero.stage_1_and_2"
