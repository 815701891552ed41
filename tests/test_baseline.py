import pytest

from medical_team.baseline import Baselines
from medical_team.types import Category, Role


def test_the_baseline_is_read_before_it_learns():
    baselines = Baselines(decay=0.9)
    seen = [baselines.center(Role.ASSESSOR, Category.VANILLA_BENIGN, raw) for raw in (1.0, 2.0, 2.0)]
    assert seen == pytest.approx([1.0, 1.0, 1.1])


def test_roles_and_categories_do_not_mix():
    baselines = Baselines()
    baselines.center(Role.ATTACKER, Category.ADVERSARIAL_BENIGN, 5.0)
    assert baselines.center(Role.ASSESSOR, Category.ADVERSARIAL_BENIGN, -2.0) == -2.0
    assert baselines.center(Role.ATTACKER, Category.ADVERSARIAL_HARMFUL, 0.5) == 0.5
    assert baselines.center(Role.ATTACKER, Category.ADVERSARIAL_BENIGN, 0.0) == 5.0
