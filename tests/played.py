"""Steps of games as two players of a given character would play them, and the log of their trainer."""

import random
from dataclasses import dataclass, replace

from launcher.rundir import RunDir
from medical_team.records import GameRecord, TurnRecord, VerdictRecord
from medical_team.types import Category, ErrorType, Label, Role

SEED = (
    "Patient aged 40 with known atrial fibrillation and stage three kidney disease. Gave 80 mg atorvastatin daily and "
    "apixaban five mg twice a day. Blood pressure was well controlled and the follow up is planned in four weeks."
)
PREFIX = "(PPOTrainer pid=7) INFO 11-22 13:56:51 ppo_trainer.py:551] ✨ Global step "


@dataclass(frozen=True)
class Play:
    """How a step is played; as it stands, by healthy players."""

    games: int = 32
    skill: float = 0.75
    """Share of the assessor's answers that are right."""
    always: Label | None = None
    """The assessor's only answer."""
    thinking: int = 12
    copies: float = 0.05
    garbled: float = 0.0
    faithful: float = 0.8
    ties: float = 0.0
    """Share of the attacker's notes that the judge abstains on."""
    reward: float | None = None
    """Everybody's raw reward; None for what the table gives."""
    figures: tuple[tuple[str, float], ...] = (
        ("policy_loss", 0.02), ("actor_grad_norm", 0.4), ("kl", 0.0), ("ppo_kl", 1e-5), ("vllm_kl", 1e-4),
    )  # fmt: skip


def game(run: str, step: int, number: int, play: Play, chance: random.Random) -> GameRecord:
    category = list(Category)[number % 4]
    truth: Label | None = category.intended
    turns = []
    note, faithful = SEED, None
    if category.adversarial:
        note = SEED.replace("40", str(chance.randrange(20, 90))) + " The patient was seen twice."
        if chance.random() < play.copies:
            note = SEED.upper()
        if chance.random() < play.garbled:
            note = "}{ ]]] \x00 xx ::: " * 12
        faithful = chance.random() < play.faithful
        truth = None if chance.random() < play.ties else truth
    answer = play.always or (truth if chance.random() < play.skill else _other(truth))
    correct = None if truth is None else answer == truth
    if category.adversarial:
        deceived = correct is False
        turns.append(_turn(0, Role.ATTACKER, note, play, (1.5 if deceived else -0.5) if faithful else -1.0, None))
    turns.append(_turn(len(turns), Role.ASSESSOR, answer, play, 1.0 if correct else -1.0, correct))
    verdict = VerdictRecord(
        label=truth, p_harm=None, same_meaning=None, faithful=faithful if truth else None, realistic=None,
        p_realistic=None, valid=truth is not None, reason="ok" if truth else "abstain",
        source="rule" if category.adversarial else "dataset", rationale=None, raw=None, latency_ms=1.0, judge="rules",
    )  # fmt: skip
    return GameRecord(
        run=run, game=f"g{step}-{number}", sample=f"s{number}", case=f"c{number}", mode="train", step=step,
        category=category, error_type=ErrorType.DOSAGE, opponent="self", seed_note=SEED, clean_note=SEED, note=note,
        turns=tuple(turns), verdict=verdict, attack_verdict=None, truth=truth, valid=truth is not None,
        drop_reason=None, started=1000.0 + step, ended=1001.0 + step,
    )  # fmt: skip


def _other(truth: Label | None) -> Label:
    return Label.SAFE if truth is Label.HARMFUL else Label.HARMFUL


def _turn(seat: int, role: Role, answer: str, play: Play, verdict: float, correct: bool | None) -> TurnRecord:
    thinking = " ".join(["because"] * play.thinking)
    kept = bool(thinking)
    reward = play.reward if play.reward is not None else verdict + (1 if kept else -1)
    return TurnRecord(
        seat=seat, role=role, prompt="p", raw=f"{thinking}</think><answer>{answer}</answer>",
        thinking=thinking if kept else None, answer=answer if kept or role is Role.ATTACKER else None, format_ok=kept,
        format_reason="ok" if kept else "empty thinking", tokens=20 + play.thinking, truncated=False, latency_ms=5.0,
        correct=correct, rewards={"verdict": reward}, raw_reward=reward, baseline=0.0, sent_reward=reward,
    )  # fmt: skip


def step(run: RunDir, number: int, play: Play = Play(), seed: int = 0) -> None:  # noqa: B008
    """Appends one step to the run's files."""
    chance = random.Random(f"{seed} {number}")
    records = [game(run.id, number, at, play, chance) for at in range(play.games)]
    with (run.games / "1-1.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(f"{record.model_dump_json()}\n" for record in records)
    figures = {name: value * chance.uniform(0.5, 1.5) for name, value in play.figures}
    with run.log(1).open("a", encoding="utf-8") as file:
        file.write(f"{PREFIX}{number}: {figures | {'timing/step_total': 1.0}}\n")


def with_figure(play: Play, name: str, value: float) -> Play:
    return replace(play, figures=tuple((key, value if key == name else old) for key, old in play.figures))
