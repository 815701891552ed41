"""Which games have a frozen opponent, and which model it is."""

from types import SimpleNamespace

import pytest
from test_game import sample, table

from medical_team import opponents
from medical_team.agent_settings import AgentSettings
from medical_team.baseline import START, Baselines
from medical_team.config import GameConfig
from medical_team.frozen import Sampling
from medical_team.types import Category, Role


class NoModel:
    """Loaded in the place of a model; counts the loads."""

    loads: list[str] = []

    def __init__(self, name: str):
        NoModel.loads.append(name)

    def player(self, sampling):
        return SimpleNamespace(frozen=True)


@pytest.fixture
def some(tmp_path):
    NoModel.loads = []
    return lambda **more: opponents.Opponents(
        AgentSettings(run="r", games=tmp_path / "games", prompts_per_step=8, frozen_model="start",
                      checkpoints=tmp_path, seed=3, **more),
        NoModel,
    )  # fmt: skip


def drawn(desk, category: Category, steps: int = 400) -> list[str]:
    found = (desk.draw(sample(category), step, GameConfig()) for step in range(1, steps + 1))
    return [one.name for one in found if one]


def test_the_share_of_adversarial_games_and_no_other(some):
    games = drawn(some(frozen_share=0.3), Category.ADVERSARIAL_HARMFUL)
    assert 0.22 < len(games) / 400 < 0.38
    assert games == drawn(some(frozen_share=0.3), Category.ADVERSARIAL_HARMFUL)
    assert drawn(some(frozen_share=0.5), Category.VANILLA_HARMFUL) == []
    assert drawn(some(frozen_share=0.0), Category.ADVERSARIAL_BENIGN) == []


def checkpoint(folder, step: int, whole: bool = True) -> str:
    made = folder / f"global_step{step}_hf"
    made.mkdir()
    if whole:
        (made / opponents.SAVED_LAST).touch()
    return str(made)


def test_start_model_and_newest_whole_checkpoint_take_turns(tmp_path):
    (tmp_path / "global_step9").mkdir()
    assert {opponents.name_of(step, "start", tmp_path) for step in range(1, 9)} == {"start"}
    first, second = checkpoint(tmp_path, 20), checkpoint(tmp_path, 100)
    checkpoint(tmp_path, 110, whole=False)
    assert opponents.name_of(20, "start", tmp_path) == "start"  # of this very step: it is not there yet
    assert opponents.name_of(22, "start", tmp_path) == first
    assert opponents.name_of(112, "start", tmp_path) == second
    assert opponents.name_of(113, "start", tmp_path) == "start"


def test_no_more_than_two_models_are_held(some, tmp_path):
    desk = some(frozen_share=0.5)
    for step in (20, 40, 60):
        checkpoint(tmp_path, step)
        for now in range(step + 1, step + 20):
            desk.draw(sample(Category.ADVERSARIAL_HARMFUL), now, GameConfig())
        assert len(desk._loaded) <= 2
    assert sorted(NoModel.loads) == sorted(
        ["start", *(str(tmp_path / f"global_step{step}_hf") for step in (20, 40, 60))]
    )


def test_a_prompt_gives_two_games_in_which_each_role_is_trained_once(some):
    policy = SimpleNamespace(sampling=Sampling(1.0, 1.0, 50))
    opponent = opponents.Opponent("start", NoModel("start"))
    both = opponents.against(table(policy, policy), opponent, GameConfig())
    assert [one.trained for one in both] == [{Role.ATTACKER}, {Role.ASSESSOR}]
    assert both[0].attacker is policy and both[1].assessor is policy
    assert both[0].assessor.frozen and both[1].attacker.frozen and {one.opponent for one in both} == {"start"}
    assert [opponents.seats(one, "train") for one in both] == [1, 1]
    alone = opponents.against(table(policy, policy), opponent, GameConfig(no_defender_turn=True))
    assert [one.trained for one in alone] == [{Role.ATTACKER}]


def test_games_against_a_frozen_opponent_have_a_baseline_of_their_own():
    baselines = Baselines()
    baselines.center(Role.ATTACKER, Category.ADVERSARIAL_BENIGN, 5.0)
    assert baselines.center(Role.ATTACKER, Category.ADVERSARIAL_BENIGN, 1.0, START) == 1.0
    assert baselines.center(Role.ATTACKER, Category.ADVERSARIAL_BENIGN, 0.0) == 5.0
