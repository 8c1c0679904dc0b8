"""Bounds of a replay as a person writes them, what its progress says; it runs in tests/e2e/test_rollout.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.replay import Progress, bound
from schemas.errors import BadSetting

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
