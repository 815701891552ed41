import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import psutil
import pytest

from launcher import footprint


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("ray::PolicyModelActor", "policy"),
        ("ray::ReferenceModelActor", "reference"),
        ("ray::RolloutRayActor", "rollout"),
        ("VLLM::EngineCore", "rollout"),
        ("ray::RayWorkerWrapper", "rollout"),
        ("ray::PPOTrainer", "ray"),
        ("ray::IDLE", "ray"),
        ("raylet", "ray"),
        ("python", "other"),
    ],
)
def test_roles_are_told_by_how_processes_call_themselves(title, role):
    assert footprint.role(title) == role


def test_memory_of_a_process_is_what_the_kernel_says():
    held = footprint.Pss().sample([psutil.Process()])
    assert held[0].pid == os.getpid()
    assert held[0].mb == pytest.approx(psutil.Process().memory_full_info().pss / footprint.MB, rel=0.1)


def test_a_process_that_is_gone_is_left_out():
    gone = psutil.Popen(["true"])
    gone.wait()
    assert footprint.Pss().sample([gone]) == []


def test_the_kernel_is_asked_anew_once_a_process_has_grown_or_some_samples_have_passed(monkeypatch):
    asked, pss = [], footprint.Pss()
    real = footprint.pss_mb
    monkeypatch.setattr(footprint, "pss_mb", lambda pid: asked.append(pid) or real(pid))
    first = pss.sample([psutil.Process()])[0].mb
    assert pss.sample([psutil.Process()])[0].mb == first and len(asked) == 1
    held = bytearray(os.urandom(64 << 20))
    assert pss.sample([psutil.Process()])[0].mb == pytest.approx(first + len(held) / footprint.MB, rel=0.1)
    assert len(asked) == 2
    for _ in range(footprint.Pss.AGAIN):
        pss.sample([psutil.Process()])
    assert len(asked) == 3


class User(NamedTuple):
    pid: int
    usedGpuMemory: int | None


class Nvml:
    """Answers as pynvml does, for GPUs that are each a list of their users."""

    def __init__(self, *gpus: list[User]):
        self.gpus, self.open = gpus, 0

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return gpu


@pytest.fixture
def rollout(tmp_path) -> Iterator[list[psutil.Process]]:
    """A process that calls itself a rollout actor, and below it one that calls itself vLLM's."""
    engine = tmp_path / "VLLM::EngineCor"  # as much of a name as the kernel keeps
    engine.symlink_to("/bin/sleep")
    start = f"child = subprocess.Popen([{str(engine)!r}, '60'])"
    code = f"import subprocess; {start}; print(child.pid, flush=True); child.wait()"
    argv = ["ray::RolloutRayActor", "-c", code]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE, text=True) as actor:
        child = psutil.Process(int(actor.stdout.readline()))
        yield [psutil.Process(actor.pid), child]
        child.kill()
        actor.kill()


def test_device_memory_is_summed_over_gpus_and_the_actor_above_vllm_is_the_judge(rollout):
    actor, engine = rollout
    gib = 1024 * footprint.MB
    nvml = Nvml([User(actor.pid, 8 * gib), User(engine.pid, 2 * gib), User(1, gib)], [User(engine.pid, gib)])
    held = {one.role: one.mb for one in footprint.on_gpu(rollout, nvml)}
    assert held == {"judge": 8 * 1024, "rollout": 3 * 1024}
    assert nvml.open == 0


def test_an_actor_without_a_vllm_below_it_is_the_rollout_engine_itself(rollout):
    actor, _ = rollout
    assert [one.role for one in footprint.on_gpu([actor], Nvml([User(actor.pid, 1)]))] == ["rollout"]


def test_memory_that_nvml_does_not_tell_is_no_number(rollout):
    assert footprint.on_gpu(rollout, Nvml([User(rollout[0].pid, None)])) == []


def test_what_could_not_be_ended_is_named_with_its_device_memory(rollout):
    actor, engine = rollout
    texts = footprint.named(rollout, Nvml([User(actor.pid, 1536 * footprint.MB)]))
    assert texts == [f"{actor.pid} ray::RolloutRayActor, keeps 1.5 GiB of GPU memory", f"{engine.pid} VLLM::EngineCor"]
    assert footprint.named([]) == []
