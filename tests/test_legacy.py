import json
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher import command, legacy
from launcher.config import resolve
from launcher.engine import Engine
from launcher.legacy import LegacyError
from launcher.legacy_flags import NO_SETTING, SWITCHES, VALUES
from launcher.rundir import RunDir
from launcher.shell_script import read as read_script

GUIDE = (Path(__file__).parent / "data" / "train_medical_local.sh").read_text(encoding="utf-8")
TRAIN = "python -m openrlhf.cli.train_ppo_ray "
MEDEC = {"data.path": "/data/medec.csv"}


def flags_of(script: str) -> list[str]:
    return [word for word in shlex.split(script, comments=True) if word.startswith("--")]


def named(imported: legacy.Imported) -> dict[str, str]:
    return dict(imported.named)


def test_every_flag_of_the_guide_is_translated_or_named():
    imported = legacy.read(GUIDE)
    accounted = {one.flag for one in imported.translated} | named(imported).keys()
    assert accounted == {*flags_of(GUIDE), legacy.MODULE}
    assert named(imported).keys() == {"--save_path", "--ckpt_path", "--disable_ds_ckpt", "--bf16", "--actor_loss_coef"}


def test_the_guide_becomes_a_run():
    run = resolve("cpu-demo", legacy.read(GUIDE).settings | MEDEC)
    assert (run.mode, run.device, run.policy, run.prompt_style) == (
        "self_play", "cuda", "Qwen/Qwen2.5-3B-Instruct", "full",
    )  # fmt: skip
    assert (run.train.steps, run.train.batch_size, run.train.micro_batch_size, run.train.learning_rate) == (
        19,
        8,
        2,
        5e-7,
    )
    assert (run.rollout.batch_size, run.rollout.max_len, run.rollout.max_new_tokens) == (32, 2048, 1024)
    assert (run.train.kl_coefficient, run.train.normalize_reward, run.eval.steps) == (0.01, True, 10)
    assert (run.checkpoint.steps, run.checkpoint.huggingface, run.data.source) == (100, True, "medec")
    assert (run.memory.vllm_share, run.memory.attention, run.memory.gradient_checkpointing) == (
        0.5, "flash_attention_2", True,
    )  # fmt: skip
    assert [str(kind) for kind in run.custom_configs.error_types] == [
        "dosage", "diagnosis", "contraindication", "management",
    ]  # fmt: skip


def test_nothing_of_the_script_is_run(tmp_path):
    touched = tmp_path / "touched"
    with pytest.raises(LegacyError, match="there is no command"):
        legacy.read(f"touch {touched}; A=$(touch {touched}); `touch {touched}`")
    imported = legacy.read(f"SEED=$(touch {touched}; echo 7)\n{TRAIN} --seed $SEED --zero_stage `touch {touched}`")
    assert not touched.exists()
    assert "seed" not in imported.settings and "only running the script" in named(imported)["--seed"]
    assert "set memory.zero_stage by hand" in named(imported)["--zero_stage"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("--seed 7", 7),
        ("--seed=7", 7),
        ("--seed '7'", 7),
        ("--seed 1 --seed 7", 7),
        ("\\\n  --seed \\\n  7", 7),
        ("--seed 7 2>&1 | tee log --seed 9", 7),
        ("--seed 7 > log; echo --seed 9", 7),
        ("--seed 7 # --seed 9", 7),
    ],
)
def test_how_a_flag_may_be_written(script, expected):
    assert legacy.read(TRAIN + script).settings["seed"] == expected


@pytest.mark.parametrize(
    ("before", "value", "expected"),
    [
        ("P=org/model", "$P", "org/model"),
        ("P=org/model", "${P}", "org/model"),
        ("P=org/model", '"$P"', "org/model"),
        ("P='org/model' # my model", "${P}-it", "org/model-it"),
        ("export P=org/model", "$P", "org/model"),
        ("A=org; P=$A/model", "$P", "org/model"),
        ("P=org; P+=/model", "$P", "org/model"),
        ("", "${P:-org/model}", "org/model"),
        ("if true; then P=org/model; fi", "$P", "org/model"),
        ("cat <<END\nit's a 'quote\nEND\nP=org/model", "$P", "org/model"),
        ("P=org/model", "'$P'", "$P"),
        ("P=org/model", "\\$P", "$P"),
    ],
)
def test_variables_are_filled_in_as_a_shell_does(before, value, expected):
    assert legacy.read(f"{before}\n{TRAIN} --pretrain {value}").settings["policy"] == expected


def test_a_variable_with_several_flags_is_split():
    found = legacy.read(f'MORE="--adam_offload --zero_stage 3"\n{TRAIN} $MORE').settings
    assert (found["memory.adam_offload"], found["memory.zero_stage"]) == (True, 3)


def test_flags_behind_a_commented_line_are_outside_the_command():
    imported = legacy.read(f"{TRAIN} --seed 7 \\\n  # --zero_stage 3 \\\n  --adam_offload \\\n  --bf16")
    assert imported.settings.keys() == {"device", "seed"}
    assert "line 3 is not part of the command" in named(imported)["--adam_offload"]


@pytest.mark.parametrize(
    ("arguments", "flag", "what"),
    [
        ("--micro_train_batch_size two", "--micro_train_batch_size", "does not fit train.micro_batch_size"),
        ("--seed", "--seed", "no value"),
        ("--top_p 3", "--top_p", "less than or equal to 1"),
        ("--advantage_estimator gae", "--advantage_estimator", "set it by hand"),
        ("--micro_train_batch_sise 2", "--micro_train_batch_sise", "did the script mean --micro_train_batch_size?"),
        ("--banana 2", "--banana", "not known here"),
        ("--remote_rm_url http://gpu2:5000/reward", "--remote_rm_url", "judge server"),
        ("--max_samples 638", "--max_samples", "set train.steps"),
        ("--n_samples_per_prompt 4", "--n_samples_per_prompt", "assessor_only"),
        ("--ref_num_nodes 2 --actor_num_nodes 1", "--ref_num_nodes", "see cluster.nodes"),
        ("--use_wandb s3cr3t", "--use_wandb", "WANDB_API_KEY"),
        ("--wandb_run_name mine", "--wandb_run_name", "by its id"),
        ("--custom_configs '{'", "--custom_configs", "no JSON"),
        ("--custom_configs '{\"remove_tie\": true}'", "--custom_configs", "the nearest is remove_ties"),
        ('--seed 7 "${EXTRA[@]}"', "--seed", "only running the script tells"),
        ("stray --seed 7", "stray", "belongs to none"),
    ],
)
def test_what_cannot_be_translated_is_named_with_what_to_do(arguments, flag, what):
    imported = legacy.read(TRAIN + arguments)
    assert what in named(imported)[flag]
    assert "s3cr3t" not in str(imported)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo hello", "there is no command with openrlhf.cli.train_ppo_ray"),
        (TRAIN + "\n" + TRAIN, "starts training 2 times, on lines 1, 2"),
        (f"\n{TRAIN} --pretrain 'org", "line 2: the quote ' is never closed"),
        (f'\n\n{TRAIN} --pretrain "org', 'line 3: the quote " is never closed'),
        (f"{TRAIN} $(date", r"line 1: \$\( is never closed"),
        (f"cat <<END\n{TRAIN}", "here-document never ends with 'END'"),
        ("A=xxxxxxxxxxxxxxxx\n" + "A=$A$A\n" * 20 + TRAIN, "grows beyond"),
        ("A=" + "x" * 9_999 + "\n" + TRAIN + "$A " * 100, "at most 200000 are read"),
    ],
)
def test_a_script_that_cannot_be_read_says_why(script, message):
    with pytest.raises(LegacyError, match=message):
        legacy.read(script)


def test_the_mode_follows_from_the_reward():
    url = TRAIN + "--remote_rm_url my/reward.py "
    assert legacy.read(url).settings["mode"] == "assessor_only"
    assert legacy.read(url + "--custom_configs '{\"max_turns\": 2}'").settings["mode"] == "self_play"
    assert legacy.read(TRAIN + "--train.agent_func_path agent.py").settings["mode"] == "self_play"


def test_coefficients_of_the_rewards_are_settings_of_their_own():
    configs = json.dumps({"reward_coeff_config": {"realism": 0.5, "format": 2}})
    found = legacy.read(f"{TRAIN} --custom_configs '{configs}'").settings
    assert found["custom_configs.reward_coeff_config.realism"] == 0.5
    assert found["custom_configs.reward_coeff_config.format"] == 2


GPU = {
    "device": "cuda", "policy": "org/model", "seed": 7, "train.kl_coefficient": 0.01, "train.normalize_reward": True,
    "train.learning_rate": 5e-7, "rollout.temperature": 0.7, "memory.adam_offload": True, "memory.vllm_eager": True,
    "memory.vllm_share": 0.25, "memory.vllm_prefix_caching": True, "memory.gradient_checkpointing": True,
    "memory.zero_stage": 3, "checkpoint.huggingface": True, "checkpoint.steps": 0, "logging.tensorboard": True,
    "custom_configs.remove_ties": False, "custom_configs.reward_coeff_config.realism": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("preset", ["cpu-demo", "assessor-only"])
@pytest.mark.parametrize("given", [{}, GPU])
def test_our_own_command_reads_as_the_run_that_it_came_from(preset, given):
    run = resolve(preset, given)
    start = command.Start(run, RunDir(Path("/runs/20260101-000000-abcd")), attempt=2)
    script = command.build(start, Engine(run.device, Path("/engine/python"), {})).shell()
    imported = legacy.read(script)
    assert {*flags_of(script)} <= {one.flag for one in imported.translated} | named(imported).keys()
    assert not [line for line in imported.named if "not known here" in line.what_to_do]
    own = {} if run.device == "cuda" else {"memory.vllm_share": 0.1, "memory.vllm_eager": True}
    assert resolve(preset, imported.settings) == resolve(preset, given | own)


def test_no_flag_stands_in_two_tables():
    flags = [*(flag for flags in VALUES.values() for flag in flags), *SWITCHES, *NO_SETTING]
    assert len(flags) == len(set(flags))


BITS = ["$", "{", "}", "(", ")", "'", '"', "`", "\\", "\n", " ", "#", "=", "A", "$A", "A=", "--seed", "7", "<<", ">", "|",
        "export ", "if ", "\x00", "\u2028", "{}", "--custom_configs ", TRAIN, "[" * 2000]  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(BITS), max_size=40).map("".join)))
@settings(deadline=None, max_examples=300)
def test_any_text_is_read_or_refused(text):
    for script in (text, f"{TRAIN} --seed 7 {text}"):
        try:
            legacy.read(script)
        except LegacyError as error:
            assert str(error)


WORDS = st.lists(st.sampled_from(["a", "$A", "${A}", '"$A b"', "'$A'", "\\$A", "x\\\ny", '"q\\"r"', "e#f", '""']))


@given(WORDS, st.sampled_from(["", "A=1", "A='p  q'", 'A="r s"t']))
@settings(deadline=None, max_examples=60)
def test_words_are_those_of_a_real_shell(words, before):
    script = f"A=\n{before}\nprintf '%s\\0' .{' '.join(['', *words])}"
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "\0".join([word.text for word in read_script(script).commands[-1].words[2:]]) + "\0" == shell
