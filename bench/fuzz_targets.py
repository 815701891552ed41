"""What comes from outside, as functions of bytes: each takes anything, and ends in a value or in an error that says what was
wrong. Anything else is a finding. `bench/fuzz.py` feeds them by coverage, `tests/test_fuzz.py` by hypothesis."""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from app import guard
from launcher import alerts, legacy, log_window, settings, state, tail, webhook
from launcher.config import RunConfig, SettingError, resolve
from launcher.ingest import ingest
from launcher.reading import Unreadable
from launcher.rundir import RunDir, UnknownRun, find
from launcher.store import Store
from launcher.trainer_log import Parser
from medical_team import medec
from medical_team.config import GameConfig
from medical_team.judge.settings import JudgeSettings
from medical_team.parsing import parse_reply

HERE = Path(tempfile.mkdtemp(prefix="so-fuzz-"))
RUN = RunDir(HERE / "20260102-030405-abcd")


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def run_config(data: bytes) -> None:
    with suppress(ValidationError):
        config = RunConfig.model_validate_json(data)
        assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    values = None
    with suppress(ValueError, RecursionError):
        values = json.loads(data)
    if isinstance(values, dict):
        with suppress(ValidationError, SettingError):
            resolve("cpu-demo", values)


def setting(data: bytes) -> None:
    """The first byte chooses the setting."""
    if data:
        key = [*settings.FIELDS][data[0] % len(settings.FIELDS)]
        with suppress(ValidationError):
            settings.parse(key, text_of(data[1:]))


def custom_configs(data: bytes) -> None:
    with suppress(ValidationError):
        config = GameConfig.model_validate_json(data)
        assert GameConfig.model_validate_json(config.to_json()) == config


def data_file(data: bytes) -> None:
    for name in ("notes.csv", "notes.jsonl", "notes"):
        with suppress(medec.DataError):
            medec.parse(data, name)


def log(data: bytes) -> None:
    """Whatever the lines hold, the parser goes on, and knows as much whether it was stopped in between or not."""
    whole, parts, offset, one, two = Parser(None), Parser(None), 0, [], []
    for line in data.split(b"\n"):
        one += whole.feed(offset, line)
        two += parts.feed(offset, line)
        parts = Parser(json.loads(json.dumps(parts.state())))
        offset += len(line) + 1
    assert repr(one) == repr(two)  # a value may be nan, which is equal to nothing


def shown_log(data: bytes) -> None:
    path = HERE / "train.log"
    path.write_bytes(data)
    for line in log_window.window(path, len(data)).lines:
        line.text.encode("utf-8")


def files(data: bytes) -> None:
    """All that the ingest reads, with the same lines in every file: each is taken, or counted as bad."""
    names = ("train.log", "games/1-1.jsonl", "probes/1-1.jsonl", "memory.jsonl", "events.jsonl", "reviews.jsonl")
    for name in (*names, "config.json", "state.json"):
        path = RUN.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with Store(Path(":memory:")) as store:
        ingest(store, RUN.path, finish=True)
        again = ingest(store, RUN.path, finish=True)
        assert again.metrics == again.games == again.memory == again.events == 0
        assert all(store.mark(RUN.id, name).offset == data.rfind(b"\n") + 1 for name in names)
    alerts.still_open(alerts.lines(RUN))


def small_files(data: bytes) -> None:
    RUN.path.mkdir(exist_ok=True)
    RUN.state.write_bytes(data)
    with suppress(Unreadable):
        state.read(RUN)


def script(data: bytes) -> None:
    with suppress(legacy.LegacyError):
        legacy.read(text_of(data))
    with suppress(legacy.LegacyError):
        legacy.read("python -m openrlhf.cli.train_ppo_ray " + text_of(data))


def address(data: bytes) -> None:
    text = text_of(data)
    with suppress(webhook.WrongAddress):
        assert webhook.address(text).scheme in ("http", "https")
    with suppress(ValidationError):
        assert JudgeSettings(url=text).url.startswith(("http://", "https://"))


def request(data: bytes) -> None:
    """No host but ours, whatever it looks like."""
    host, _, origin = data.decode("latin-1").partition(" ")
    found = guard.refused(guard.Asked("POST", "/x", host, origin=origin), frozenset({"localhost"}), login=False)
    assert found is not None or origin.lower().endswith("//" + host.lower())


def run_id(data: bytes) -> None:
    with suppress(UnknownRun):
        assert find(HERE, text_of(data)).path.parent == HERE


def reply(data: bytes) -> None:
    found = parse_reply(text_of(data))
    assert (found.answer is not None) == found.ok


def tailed(data: bytes) -> None:
    path = HERE / "tailed"
    path.write_bytes(data)
    found, offset = [], 0
    while (chunk := tail.read(path, offset, limit=7)).lines:
        found += [line.text for line in chunk.lines]
        offset = chunk.offset
    assert found == data.split(b"\n")[:-1]


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (run_config, setting, custom_configs, data_file, log, shown_log, files, small_files, script, address, request,
                run_id, reply, tailed)
}  # fmt: skip

SEEDS: dict[str, tuple[bytes, ...]] = {
    "run_config": (b'{"train": {"steps": 3}, "policy": "a/b"}', b'{"train": 3, "train.steps": 3}', b'{"a.b": {}}'),
    "custom_configs": (b'{"max_turns": 2, "error_types": ["dosage"]}', b'{"reward_coeff_config": {"format": 1e308}}'),
    "data_file": (
        b"Text ID,Text,Corrected Text,Error Type,Error Flag\n1,a b,a c,diagnosis,1\n",
        b'{"note_id": "1", "incorrect_note": "a", "correct_note": "b", "error_type": "diagnosis"}\n',
    ),
    "log": (b"(PPOTrainer pid=7) INFO 11-22 13:56:51 ppo_trainer.py:551] Global step 1: {'a': nan, 'kl': 0.1}\n",
            b"Traceback (most recent call last):\n  File \"x\", line 1, in <module>\nValueError: x\n"),
    "files": (b'{"time": 1, "kind": "alert", "level": "info", "text": "x"}\n', b'{"time": 1e999}\n[]\n\xff\n'),
    "small_files": (b'{"steps": 3, "started": 1.0, "last_event": 1.0}',),
    "script": (b"--pretrain x --custom_configs '{\"max_turns\": 2}' \\\n --save_steps=$A", b"A=1\nfor i in 1 2; do\n"),
    "address": (b"http://host:80/x?y=1", b"https://[::1]:8/"),
    "request": (b"localhost:7860 http://localhost:7860",),
    "run_id": (b"20260102-030405-abcd", b"../../etc"),
    "reply": (b"because </think> <answer> Safe </answer>",),
}  # fmt: skip
"""Where the fuzzers begin."""
