"""What is said of a trainer that is gone."""

import pytest

from launcher import causes
from launcher.state import State


@pytest.mark.parametrize(
    ("code", "oom_kills", "said"),
    [
        (None, 0, "the trainer ended while nobody watched, before the last step"),
        (1, 0, "the trainer ended with exit code 1 before it was done"),
        (1, 2, "exit code 1 before it was done, after the system had ended 2 processes because memory ran out"),
        (-15, 0, "the trainer was killed by SIGTERM"),
        (-15, 1, "the trainer was killed by SIGTERM"),
        (-9, 0, "killed by SIGKILL, by somebody: the system did not run out of memory meanwhile"),
        (-9, 1, "killed by SIGKILL: memory ran out, and the system ended one process"),
    ],
)
def test_why_it_is_gone(code, oom_kills, said):
    assert causes.died(code, oom_kills).endswith(said)


@pytest.mark.parametrize(
    ("saved", "oom_kills", "told", "advice"),
    [
        (0, 0, "", "nothing was saved: start it anew"),
        (4, 0, "", "resume goes on from step 4"),
        (4, 1, "", "close other programs or lower the batch sizes; resume goes on from step 4"),
        (0, 0, f"OSError: [Errno 28] {causes.NO_ROOM}", "make room on the disk; nothing was saved: start it anew"),
        (10, 0, "", "the checkpoint of step 10 is whole and the last, only the final model was not written"),
    ],
)
def test_what_to_do(saved, oom_kills, told, advice):
    assert causes.what_to_do(saved, 10, oom_kills, told) == advice


def test_a_trainer_that_never_was():
    now = State(steps=3, started=1.0, last_event=1.0, tries=2)
    assert causes.unseen(now) == "2 supervisors ended before they started its trainer"
