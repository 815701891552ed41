"""The table of flags against the installed OpenRLHF's own parser."""

import json
import subprocess
from pathlib import Path

import pytest

from launcher import command
from launcher.config import resolve
from launcher.engine import Engine
from launcher.rundir import RunDir

pytestmark = pytest.mark.engine

# OpenRLHF builds its parser in the module's main block: take that block up to the parsing, and parse.
PARSE = """
import argparse, ast, importlib.util, json, sys
from datetime import datetime
source = open(importlib.util.find_spec("openrlhf.cli.train_ppo_ray").origin).read()
main = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
is_parsing = [isinstance(n, ast.Assign) and "parse_args" in ast.unparse(n) for n in main.body].index(True)
exec(compile(ast.Module(main.body[:is_parsing], []), "parser", "exec"))
print(json.dumps(vars(parser.parse_args(sys.argv[1:])), default=str))
"""
EVERYTHING = {
    "device": "cuda",
    "train.kl_coefficient": 0.01,
    "train.normalize_reward": True,
    "memory.adam_offload": True,
    "memory.zero_stage": 3,
    "memory.reference_offload": True,
    "memory.vllm_eager": True,
    "memory.vllm_prefix_caching": True,
    "memory.gradient_checkpointing": True,
    "checkpoint.huggingface": True,
    "logging.tensorboard": True,
    "logging.wandb.enabled": True,
    "logging.wandb.entity": "team",
    "logging.wandb.group": "first tries",
}


def parsed(python: str, start: command.Start) -> tuple[list[str], dict]:
    argv = command.build(start, Engine(start.config.device, Path(python), {})).argv[3:]
    done = subprocess.run([python, "-c", PARSE, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [word for word in argv if word.startswith("--")], json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("settings", [{}, EVERYTHING])
@pytest.mark.parametrize("preset", ["cpu-demo", "assessor-only"])
def test_openrlhf_reads_every_flag_as_it_is_meant(engine_python, preset, settings):
    start = command.Start(resolve(preset, settings), RunDir(Path("/runs/20260101-000000-abcd")), attempt=2)
    given, read = parsed(engine_python, start)
    assert len(given) == len(set(given)) > 30
    for flag in given:
        assert str(read[flag.removeprefix("--")]) == str(command.FLAGS[flag](start)), flag


def test_no_flag_of_the_table_goes_untested():
    used = set()
    for preset in ("cpu-demo", "assessor-only"):
        for settings in ({}, EVERYTHING):
            start = command.Start(resolve(preset, settings), RunDir(Path("/runs/x")), attempt=2)
            used |= {flag for flag, of in command.FLAGS.items() if of(start) is not None and of(start) is not False}
    assert used == command.FLAGS.keys()
