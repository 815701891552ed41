import json
import random
import re
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pytest

from launcher.runs import DEMO_MODEL_FOLDER
from medical_team import demo_model
from medical_team.demo_model import SOURCES, THRESHOLD, Skill, check, recipe_fingerprint
from medical_team.demo_model.lessons import DRILL, Recipe, examples, prompt
from medical_team.demo_model.skill import held_out
from medical_team.demo_world import broken, read_note
from medical_team.parsing import parse_turn
from medical_team.types import ErrorType, Label, Role

ROOT = demo_model.ROOT


def skill(**changes) -> Skill:
    good = Skill(
        all_checks=0.99,
        format_greedy=1.0,
        format_sampled=0.99,
        assessor_greedy=0.7,
        assessor_sampled=0.65,
        attacker_format=1.0,
        attacker_faithful=0.5,
        threshold=THRESHOLD,
        seed=0,
        steps=1500,
        seconds=100.0,
        recipe=recipe_fingerprint(),
    )
    return Skill(**asdict(good) | changes)


@pytest.fixture
def folder(tmp_path):
    """What a finished build leaves, as far as `check` looks at it."""
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    write_skill(tmp_path, skill())
    return tmp_path


def write_skill(folder: Path, skill: Skill) -> None:
    (folder / "skill.json").write_text(json.dumps(asdict(skill)), encoding="utf-8")


def test_a_finished_model_passes_the_check(folder):
    assert check(folder) is None


def test_no_model_is_named_with_the_command_that_builds_it(tmp_path):
    assert "./run.sh setup" in check(tmp_path / "none")
    assert "no finished demo model" in check(tmp_path)


def test_a_model_of_another_recipe_is_out_of_date(folder):
    write_skill(folder, skill(recipe="0" * 16))
    assert "other demo tables or code" in check(folder)


@pytest.mark.parametrize("rate", ["all_checks", "format_greedy", "format_sampled"])
def test_a_model_below_the_threshold_is_refused(folder, rate):
    write_skill(folder, skill(**{rate: 0.94}))
    assert "0.940" in check(folder)
    write_skill(folder, skill(**{rate: THRESHOLD}))
    assert check(folder) is None


def test_a_model_with_a_file_missing_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "lacks model.safetensors" in check(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"all_checks": 1}'])
def test_a_skill_file_that_says_too_little_is_refused(folder, text):
    (folder / "skill.json").write_text(text, encoding="utf-8")
    assert "cannot be read" in check(folder)


def test_the_fingerprint_is_of_every_source_that_shapes_the_model():
    assert re.fullmatch(r"[0-9a-f]{16}", recipe_fingerprint())
    assert all((ROOT / source).is_file() for source in SOURCES)
    for module in sorted(m for m in sys.modules if m.startswith("medical_team.demo_")):
        assert str(Path(sys.modules[module].__file__).relative_to(ROOT)) in SOURCES


def test_the_fingerprint_changes_with_a_table(tmp_path):
    for source in SOURCES:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / source).write_bytes((ROOT / source).read_bytes())
    assert recipe_fingerprint(tmp_path) == recipe_fingerprint()
    table = tmp_path / "data/demo_world.json"
    table.write_text(table.read_text(encoding="utf-8").replace("2400", "2800"), encoding="utf-8")
    assert recipe_fingerprint(tmp_path) != recipe_fingerprint()


def test_a_prompt_ends_where_the_game_lets_the_model_begin():
    said = prompt(Role.ATTACKER, "A note.", Label.HARMFUL, ErrorType.DRUG_INTERACTION)
    assert said == (
        "<|im_start|>system\nAttack: write one drug_interaction error.<|im_end|>\n"
        "<|im_start|>user\nA note.<|im_end|>\n<|im_start|>assistant\n<think>"
    )


def test_every_demonstration_of_a_seat_keeps_to_the_format():
    seats = 0
    for example in islice(examples(random.Random(1), Recipe(), Recipe.then), 500):
        role = Role.ASSESSOR if "Assess this note" in example.prompt else Role.ATTACKER
        if DRILL not in example.prompt:
            seats += 1
            assert parse_turn(role, example.reply, truncated=False).ok, example.reply
    assert 250 < seats < 400


def test_demonstrations_depend_on_the_seed_alone():
    one, same, other = (list(islice(examples(random.Random(s), Recipe(), Recipe.then), 20)) for s in (1, 1, 2))
    assert one == same != other


def test_held_out_notes_are_half_broken_and_not_those_of_a_training_seed():
    notes = held_out()
    assert sum(held.truth is Label.HARMFUL for held in notes) * 2 == len(notes)
    assert all(bool(broken(read_note(held.note))) is (held.truth is Label.HARMFUL) for held in notes)
    taught = {example.prompt for example in islice(examples(random.Random(0), Recipe(), Recipe.then), 3000)}
    assert not {prompt(Role.ASSESSOR, held.note) for held in notes} & taught


# With the engine's interpreter


def run_code(engine, code, *arguments):
    return subprocess.run([engine, "-c", code, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(engine_python):
    """The demo model as `./run.sh setup` builds it, which takes minutes."""
    if problem := check(DEMO_MODEL_FOLDER):
        pytest.fail(problem)
    return DEMO_MODEL_FOLDER


@pytest.mark.engine
def test_a_build_reaches_the_skill_that_training_needs(built):
    assert not list(built.parent.glob(f".{built.name}-*"))
    reached = Skill(**json.loads((built / "skill.json").read_text(encoding="utf-8")))
    assert reached.all_checks >= 0.95 and reached.format_greedy >= 0.95 and reached.format_sampled >= 0.95
    assert 0.5 < reached.assessor_greedy < 0.9
    assert reached.attacker_format >= 0.9 and reached.attacker_faithful > 0.05


LOADS = """
import sys
from transformers import AutoConfig, AutoTokenizer
from medical_team.demo_model.lessons import prompt
from medical_team.demo_model.skill import held_out
from medical_team.demo_world import checks, read_note
from medical_team.prompts import OPENING, messages
from medical_team.types import Role
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
assert AutoConfig.from_pretrained(sys.argv[1]).max_position_embeddings >= 4096
longest = 0
for held in held_out(50, 3):
    said = messages(Role.ASSESSOR, held.note, style="short")
    game = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True) + OPENING
    assert game == prompt(Role.ASSESSOR, held.note), game
    ids = tokenizer.encode(game, add_special_tokens=False)
    assert tokenizer.decode(ids) == game, tokenizer.decode(ids)
    reply = " ".join(sentence for sentence, _ in checks(read_note(held.note)))
    longest = max(longest, len(ids) + len(tokenizer.encode(reply, add_special_tokens=False)))
rare = "Na\\u00efve caf\\u00e9, 37.5 \\u00b0C: \\u03b2-blocker \\u2265 12 mg?"
assert tokenizer.decode(tokenizer.encode(rare, add_special_tokens=False)) == rare
print(longest)
"""


@pytest.mark.engine
def test_the_tokenizer_is_the_one_that_was_trained_with(engine_python, built):
    done = run_code(engine_python, LOADS, built)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < 200


SHORT = """
import sys
from medical_team.demo_model.__main__ import main
from medical_team.demo_model.lessons import Recipe
sys.exit(main(["--out", sys.argv[1]], Recipe(most_drilling=3, falling=3)))
"""


@pytest.mark.engine
def test_a_build_without_the_skill_fails_and_leaves_the_older_model_alone(engine_python, tmp_path):
    older = tmp_path / "demo"
    older.mkdir()
    write_skill(older, skill())
    done = run_code(engine_python, SHORT, older)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "not skilled enough" in done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("progress ")]
    assert said[0] == "progress 0.00 tokenizer" and said[-1] == "progress 1.00 measuring"
    assert any(re.fullmatch(r"progress 0\.\d\d step \d+ verdict_loss (\d+\.\d+|inf)", line) for line in said)
    assert list(tmp_path.iterdir()) == [older]
    assert json.loads((older / "skill.json").read_text(encoding="utf-8")) == asdict(skill())
    assert [path.name for path in older.iterdir()] == ["skill.json"]


@pytest.mark.engine
def test_an_interrupted_build_leaves_nothing_that_looks_finished(engine_python, tmp_path):
    out = tmp_path / "demo"
    command = [engine_python, "-m", "medical_team.demo_model", "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as build:
        deadline = time.monotonic() + 600
        while "step" not in build.stdout.readline():
            assert time.monotonic() < deadline
        build.kill()
    assert not out.exists()
    assert "no finished demo model" in check(out)
