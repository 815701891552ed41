import os

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
        ("ray::PPOTrainer", "ray"),
        ("ray::IDLE", "ray"),
        ("raylet", "ray"),
        ("python", "other"),
    ],
)
def test_roles_are_told_by_how_processes_call_themselves(title, role):
    assert footprint.role(title) == role


def test_memory_of_a_process_is_what_the_kernel_says():
    held = footprint.on_cpu([psutil.Process()])
    assert held[0].pid == os.getpid()
    assert held[0].mb == pytest.approx(psutil.Process().memory_full_info().pss / footprint.MB, rel=0.1)


def test_a_process_that_is_gone_is_left_out():
    gone = psutil.Popen(["true"])
    gone.wait()
    assert footprint.on_cpu([gone]) == []
