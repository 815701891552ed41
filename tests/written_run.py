"""A run's folder written out by hand: config, state, log, games and data card, with texts that mean harm."""

import json
from pathlib import Path

from launcher.config import resolve
from launcher.rundir import RunDir, write_json
from launcher.state import State
from medical_team.records import GameRecord, TurnRecord, VerdictRecord
from medical_team.types import Category, ErrorType, Label, Role

IMAGE = "<img src=x onerror=\"alert('image')\">"
SCRIPT = "</script><script>alert('script')</script><svg onload=alert(2)></textarea></template></style>"
TEMPLATE = "${alert('template')} {{x}} {{{alert(3)}}} {% raw %} `${alert(4)}`"
HIDDEN = "dose \u202e50 mg\u202c, bell \x07, nul \x00, zero\u200bwidth, \u0645\u0631\u064a\u0636"
HOSTILE = f"{IMAGE} {SCRIPT} {TEMPLATE} {HIDDEN}"
CONTROL = "javascript:alert('url')\" onmouseover=\"alert('mouse')\" x=\""

MEGABYTE = "word " * 200_000 + "THE-END"


def turn(seat: int, role: Role, raw: str, answer: str | None, reward: float, correct: bool | None) -> TurnRecord:
    return TurnRecord(
        seat=seat, role=role, prompt=f"prompt {HOSTILE}", raw=raw, thinking=f"thinking {raw}", answer=answer,
        format_ok=answer is not None, format_reason="ok" if answer is not None else f"no answer {IMAGE}", tokens=12,
        truncated=False, latency_ms=34.0, correct=correct, rewards={f"verdict {IMAGE}": reward - 1, "format": 1.0},
        raw_reward=reward, baseline=0.25, sent_reward=reward - 0.25,
    )  # fmt: skip


def game(run: str, number: int, step: int, text: str = "", mode: str = "train") -> GameRecord:
    """An attacker's game: its note is the seed with two words changed, and `text` behind it."""
    seed = "Patient aged 40. Gave 80 mg atorvastatin daily."
    note = f"Patient aged 41. Gave 8 mg atorvastatin daily. {text}".strip()
    right = number % 2 == 0
    verdict = VerdictRecord(
        label=Label.HARMFUL, p_harm=0.75, same_meaning=False, faithful=True, realistic=None, p_realistic=None,
        valid=True, reason="ok", source="rule", rationale=f"because {text}", raw=f"output {text}", latency_ms=1.5,
        judge=f"judge {text[:200]}",
    )  # fmt: skip
    return GameRecord(
        run=run, game=f"g-{number}", sample=f"sample {text[:200]}", case="case-1", mode=mode, step=step,
        category=Category.ADVERSARIAL_HARMFUL, error_type=ErrorType.DOSAGE, opponent="self", seed_note=seed,
        clean_note=seed, note=note,
        turns=(
            turn(0, Role.ATTACKER, note, note, 2.5 - right, None),
            turn(1, Role.ASSESSOR, f"Harmful {text}", "Harmful" if right else "Safe", 1.0 + right, right),
        ),
        verdict=verdict, attack_verdict=None, truth=Label.HARMFUL, valid=True, drop_reason=None,
        started=1000.0 + number, ended=1002.0 + number,
    )  # fmt: skip


def log(steps: int, error: str = "") -> str:
    """A trainer's log: one line of metrics a step, a bar, and a traceback with `error` at the end."""
    prefix = "(PPOTrainer pid=7)"
    lines = [f"2026-11-22 16:56:01,825\tINFO worker.py:2012 -- Started a local Ray instance. {HOSTILE}"]
    for step in range(1, steps + 1):
        lines += [f"{prefix} Generate samples: {share:3}%|##  | {share}/100" for share in range(0, 101, 20)]
        lines.append(
            f"{prefix} INFO 11-22 13:56:51 ppo_trainer.py:551] ✨ Global step {step}: "
            f"{{'reward': {step / 10}, 'kl': 0.0}}"
        )
    lines.append("(PPOTrainer pid=7) WARNING 11-22 13:57:00 other.py:1] \x1b[33mlow memory\x1b[0m")
    if error:
        lines += ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>', f"ValueError: {error}"]
    return "\n".join(lines) + "\n"


def write(
    runs: Path, id: str = "20260102-030405-abcd", games: list[GameRecord] | None = None, name: str = "", steps: int = 3,
    error: str = "", state: str = "done", **settings,
) -> RunDir:  # fmt: skip
    """The run's folder, finished. `settings` are dotted keys with `__` for the dot."""
    run = RunDir(runs / id)
    run.games.mkdir(parents=True)
    config = resolve("cpu-demo", {"name": name} | {key.replace("__", "."): value for key, value in settings.items()})
    write_json(run.config, {"id": id, "created": 900.0} | config.model_dump(mode="json"))
    ended = State(
        state=state, phase=state, step=steps, steps=steps, started=900.0, ended=1500.0, last_event=1500.0,
        reason=f"all {steps} steps made {IMAGE}",
    )  # fmt: skip
    write_json(run.state, ended.model_dump(mode="json"))
    run.log(1).write_text(log(steps, error), encoding="utf-8")
    run.data.mkdir()
    card = {"source": f"Notes of nobody {IMAGE}", "licence": "CC BY 4.0", "citation": "Someone, 2026."}
    write_json(run.data / "card.json", card)
    games = [game(id, number, 1 + number % steps) for number in range(6)] if games is None else games
    with (run.games / "1-1.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(f"{record.model_dump_json()}\n" for record in games)
    (run.path / "memory.jsonl").write_text(json.dumps({"odd": HOSTILE}) + "\n", encoding="utf-8")
    return run
