"""Which checkpoint a run goes on from, when a kill fell into the moment in which one was written."""

import os

import pytest

from launcher.checkpoints import checkpoint_step, old_models, resume_step, saved, settle
from launcher.config import resolve
from launcher.rundir import RunDir


@pytest.fixture
def made(tmp_path):
    """Folders of checkpoints, and what `latest` holds; None for no such file."""

    def make(latest: str | None, *steps: int) -> RunDir:
        run = RunDir(tmp_path / "20260102-030405-abcd")
        folder = run.checkpoints / "_actor"
        for step in steps:
            (folder / f"global_step{step}").mkdir(parents=True)
        if latest is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "latest").write_text(latest)
        return run

    return make


@pytest.mark.parametrize(
    ("latest", "steps", "newest"),
    [
        ("global_step4", (2, 4), 4),
        ("global_step4\n", (2, 4, 6), 4),  # 6 is being written
        ("", (2, 4), 4),  # 4 is whole, and its name was being written
        ("global_st", (2, 4), 4),
        ("global_step4", (2, 6), 2),  # 4 was deleted to make room for 6, which is not whole
        ("global_step4", (6,), 0),
        (None, (2,), 0),  # the first one is being written
        (None, (), 0),
        ("global_step4", (), 0),
    ],
)
def test_the_newest_whole_checkpoint(made, latest, steps, newest):
    assert checkpoint_step(made(latest, *steps)) == newest


def test_a_resume_goes_on_from_there(made):
    run = made("", 2, 4)
    assert settle(run, 4) == 4
    assert (run.checkpoints / "_actor" / "latest").read_text() == "global_step4"


def test_a_name_that_is_right_is_left_alone(made):
    run = made("global_step4", 2, 4)
    before = (run.checkpoints / "_actor" / "latest").stat()
    assert settle(run, 4) == 4
    assert (run.checkpoints / "_actor" / "latest").stat() == before


@pytest.mark.parametrize(("told", "step"), [(4, 4), (5, 4), (3, 2), (1, 4)])
def test_a_step_whose_line_a_full_disk_cut_is_made_again_where_that_is_possible(made, told, step):
    run = made("global_step4", 2, 4)
    assert resume_step(run, told) == settle(run, told) == step
    assert (run.checkpoints / "_actor" / "latest").read_text() == f"global_step{step}"


# what OpenRLHF saves after `latest`, and does not delete


def written(file, at: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    os.utime(file, (at, at))


def model_at(run: RunDir, step: int, at: int, whole: bool = True) -> None:
    folder = run.checkpoints / f"global_step{step}_hf"
    for name in ("model.safetensors", *(["tokenizer.json"] if whole else [])):
        written(folder / name, at)
    os.utime(folder, (at, at))


def test_a_save_is_over_once_the_trainer_has_printed_something_after_its_last_file(made):
    run, alone = (
        made("global_step4", 4),
        resolve("cpu-demo", {"checkpoint.huggingface": False, "train.frozen_share": 0}),
    )
    both = resolve("cpu-demo", {"checkpoint.huggingface": True, "train.frozen_share": 0})

    def over(config):
        return saved(run, 4, config, run.log(1))

    assert not over(alone)
    written(run.checkpoints / "_actor" / "latest", 100)
    written(run.log(1), 90)
    assert not over(alone)
    written(run.log(1), 110)
    assert over(alone) and not over(both)
    model_at(run, 4, 120, whole=False)
    written(run.log(1), 130)  # as the bar of the model's shards does
    assert not over(both)
    model_at(run, 4, 140)
    assert not over(both)
    written(run.log(1), 150)
    assert over(both)


def test_of_the_saved_models_the_newest_are_kept(made):
    run = made("global_step8", 6, 8)
    for step in (2, 4, 6, 8):
        model_at(run, step, at=100 + step)
    model_at(run, 10, 110, whole=False)  # is being written
    model_at(run, 1, 50, whole=False)  # was broken off
    (run.checkpoints / "global_step2_hf_mine").mkdir()
    assert [folder.name for folder in old_models(run, 2)] == ["global_step4_hf", "global_step2_hf", "global_step1_hf"]
    assert old_models(run, 4) == [run.checkpoints / "global_step1_hf"] and old_models(run, 9) == []


def test_a_model_that_a_resumed_run_writes_again_is_a_new_one(made):
    run = made("global_step4", 4)
    for step, at in ((4, 104), (8, 108), (10, 110), (6, 206)):
        model_at(run, step, at)
    assert [folder.name for folder in old_models(run, 2)] == ["global_step8_hf", "global_step4_hf"]
    model_at(run, 4, 300, whole=False)
    assert run.checkpoints / "global_step4_hf" not in old_models(run, 2)
