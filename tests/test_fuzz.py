"""What comes from outside ends in a value or in a clear error: `bench/fuzz_targets.py`, fed by hypothesis."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.fuzz_targets import SEEDS, TARGETS

SLOW = {"files": 40, "run_config": 100, "shown_log": 150, "setting": 200}
"""Examples of the targets that take milliseconds."""

KEYS = st.sampled_from((
    "train", "train.steps", "policy", "judge.url", "custom_configs", "max_turns", "error_types", "steps", "time", "kind",
    "level", "text", "alert", "what", "step", "change", "state", "attempts", "supervisor", "game", "turns", "total_mb",
))  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12) | KEYS, inner, max_size=4),
    max_leaves=8,
)


def bent(seed: bytes):
    """A seed with a part of it replaced by anything."""
    return st.tuples(st.integers(0, len(seed)), st.integers(0, 6), st.binary(max_size=12)).map(
        lambda cut: seed[: cut[0]] + cut[2] + seed[cut[0] + cut[1] :]
    )


def inputs(target: str):
    values = JSON.map(lambda value: json.dumps(value).encode())
    lines = st.lists(st.binary(max_size=60) | values, max_size=5).map(b"\n".join)
    return st.one_of(st.binary(max_size=300), st.text().map(lambda text: text.encode("utf-8", "surrogatepass")), values,
                     lines, *map(bent, SEEDS.get(target, ())))  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_anything_ends_in_a_value_or_in_an_error_that_says_what_was_wrong(target):
    @settings(max_examples=SLOW.get(target, 300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(inputs(target))
    def feed(data):
        TARGETS[target](data)

    feed()
