"""Weights & Biases: switched by the form, logged in by the environment alone."""

import json
import sys
from itertools import pairwise
from pathlib import Path

from test_supervise import start

from launcher import command, preflight, wandb
from launcher.config import resolve
from launcher.engine import Engine
from launcher.rundir import RunDir
from launcher.runs import Runs

ON = {"logging.wandb.enabled": True, "logging.wandb.project": "notes", "logging.wandb.entity": "team"}
SECRET = "0123456789abcdef0123456789abcdef01234567"


def test_off_says_nothing_to_openrlhf():
    job = command.build(command.Start(resolve("cpu-demo"), RunDir(Path("/runs/x"))), Engine("cpu", Path("python"), {}))
    assert not [word for word in job.argv if "wandb" in word] and "WANDB_DIR" not in job.env


def test_on_names_project_and_run_and_gives_a_word_that_is_no_key():
    job = command.build(
        command.Start(resolve("cpu-demo", ON), RunDir(Path("/runs/x"))), Engine("cpu", Path("python"), {})
    )
    given = dict(pairwise(job.argv))
    assert given["--logger.wandb.key"] == wandb.NO_KEY
    assert (given["--logger.wandb.project"], given["--logger.wandb.org"]) == ("notes", "team")
    assert given["--logger.wandb.run_name"] == "x" and "--logger.wandb.group" not in given
    assert job.env["WANDB_DIR"] == "/runs/x" and wandb.KEY not in job.env
    assert job.environment({wandb.KEY: SECRET})[wandb.KEY] == SECRET


def test_the_key_reaches_the_job_and_no_file_of_the_run(fake, monkeypatch):
    monkeypatch.setenv(wandb.KEY, SECRET)
    here = fake("done")
    run = start(here, logging__wandb__enabled=True)
    here.wait(run)
    assert json.loads(run.config.read_text())["logging"]["wandb"]["enabled"] is True
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert len(files) > 5 and not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_what_is_missing_is_said_with_what_to_do():
    python = Path(sys.executable)
    missing, no_key = wandb.problems(python, {})
    assert f"wandb is missing from {python}" in missing and "WANDB_API_KEY is not set" in no_key
    assert list(wandb.problems(python, {wandb.KEY: SECRET})) == [missing]
    assert list(wandb.problems(None, {wandb.KEY: SECRET})) == []
    assert list(wandb.problems(None, {"WANDB_MODE": "offline"})) == []
    assert wandb.has_package(python, "pydantic")


def test_the_preflight_says_it_at_the_switch(fake, monkeypatch):
    monkeypatch.delenv(wandb.KEY, raising=False)
    here: Runs = fake("done")
    told = [one for one in preflight.check(resolve("cpu-demo", ON), here) if one.field == "logging.wandb.enabled"]
    assert [one.level for one in told] == ["error"] and wandb.KEY in told[0].text
    assert not [one for one in preflight.check(resolve("cpu-demo"), here) if "wandb" in (one.field or "")]
