"""Bounds of a replay as a person writes them, what its progress says, how it makes room; it runs in tests/e2e/test_rollout.py."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.replay import Progress, bound, in_small_batches
from schemas.errors import BadSetting
from schemas.settings import Settings

NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("end", None),
        ("1700000000000", 1_700_000_000_000),
        ("24h", NOW - 86_400_000),
        ("1.5h", NOW - 5_400_000),
        ("0:12,3:0", {0: 12, 3: 0}),
    ],
)
def test_bounds(text, wanted):
    assert bound(text, NOW, "--from") == wanted


@given(st.text(max_size=12))
def test_what_is_no_bound_is_refused_naming_the_option(text):
    try:
        found = bound(text, NOW, "--to")
    except BadSetting as error:
        assert str(error).startswith("--to:")
    else:
        assert found is None or isinstance(found, dict) or found >= 0


@pytest.mark.parametrize("text", ["yesterday", "0:-1", "1:2:3", "24x", ",", "-5", "²"])
def test_examples_that_are_refused(text):
    with pytest.raises(BadSetting, match="--to"):
        bound(text, NOW, "--to")


def test_progress_tells_rate_and_time_left():
    assert Progress(0, 10, 0.0).eta_s is None
    half = Progress(50, 100, 10.0)
    assert (half.per_s, half.eta_s) == (5.0, 20.0)


def test_a_replay_asks_for_little_at_a_time():
    small = in_small_batches(Settings(replay_batch=64, tag_notes_batch=16, index_notes_batch=500, update_profiles_batch=400_000))
    assert (small.tag_notes_batch, small.index_notes_batch, small.update_profiles_batch) == (16, 64, 64)


def test_a_replay_steps_back_behind_everything_else():
    """Its threads too, those it starts from then on."""
    told = "import os; from consumers.replay import step_back; step_back(); step_back(); print(os.nice(0), os.sched_getscheduler(0))"
    nice, policy = map(int, subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split())
    assert nice >= 10
    assert policy in (os.SCHED_IDLE, os.SCHED_OTHER), "OTHER where the system allows no more"
