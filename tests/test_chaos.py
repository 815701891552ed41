"""The short form of `bench/chaos.py`: a few episodes, so that a broken promise is seen early."""

import pytest

from bench import chaos
from bench.chaos_acts import Kind


def test_a_trainer_that_trains_nothing_is_broken_in_every_way():
    kinds = [Kind.SUPERVISOR, Kind.TRAINER, Kind.CHECKPOINT, Kind.EARLY, Kind.DISK, Kind.BOTH, Kind.NOW]
    said = []
    found = chaos.session(kinds, 7, real=False, seconds=3000, say=said.append, complete=False, patience=12)
    assert found.broken == [], "\n".join(said)
    assert len(found.episodes) == len(kinds) - (not found.disk) and found.resumed >= 3


@pytest.mark.e2e
@pytest.mark.engine
def test_the_real_engine_is_broken_while_it_loads(engine_python):
    said = []
    found = chaos.session(
        [Kind.SUPERVISOR, Kind.CHILD, Kind.TRAINER], 4, True, seconds=3000, say=said.append, complete=False, patience=12
    )
    assert found.broken == [], "\n".join(said)
    assert len(found.episodes) == 3
