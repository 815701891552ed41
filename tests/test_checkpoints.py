"""Which checkpoint a run goes on from, when a kill fell into the moment in which one was written."""

import pytest

from launcher.checkpoints import checkpoint_step, resume_step, settle
from launcher.rundir import RunDir


@pytest.fixture
def saved(tmp_path):
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
def test_the_newest_whole_checkpoint(saved, latest, steps, newest):
    assert checkpoint_step(saved(latest, *steps)) == newest


def test_a_resume_goes_on_from_there(saved):
    run = saved("", 2, 4)
    assert settle(run, 4) == 4
    assert (run.checkpoints / "_actor" / "latest").read_text() == "global_step4"


def test_a_name_that_is_right_is_left_alone(saved):
    run = saved("global_step4", 2, 4)
    before = (run.checkpoints / "_actor" / "latest").stat()
    assert settle(run, 4) == 4
    assert (run.checkpoints / "_actor" / "latest").stat() == before


@pytest.mark.parametrize(("told", "step"), [(4, 4), (5, 4), (3, 2), (1, 4)])
def test_a_step_whose_line_a_full_disk_cut_is_made_again_where_that_is_possible(saved, told, step):
    run = saved("global_step4", 2, 4)
    assert resume_step(run, told) == settle(run, told) == step
    assert (run.checkpoints / "_actor" / "latest").read_text() == f"global_step{step}"
