"""Shares of an answer by channel."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recall.merge import ChannelScore, Ranked
from recall.quotas import Quota, choose_by_quota, parse_quotas
from schemas.errors import BadSetting

NAMES = ("near", "index", "fresh")


def order_of(ranks):
    """Notes in merged order; ``ranks``: by note, the rank by channel."""
    return [Ranked(f"n{at}", 0, -float(at), [ChannelScore(name, rank, 0.0) for name, rank in one.items()]) for at, one in enumerate(ranks)]


@st.composite
def orders(draw):
    """Merged rankings with a ranking of its own for each channel over the notes it proposed."""
    size = draw(st.integers(0, 14))
    ranks = [{} for _ in range(size)]
    for name in NAMES:
        for rank, at in enumerate(draw(st.permutations(range(size)))[: draw(st.integers(0, size))], start=1):
            ranks[at][name] = rank
    return order_of(ranks)


def owned(notes, name, k):
    return sum(any(part.name == name and part.rank <= k for part in one.channels) for one in notes)


@given(orders(), st.integers(1, 8))
def test_without_quotas_the_order_stands(order, k):
    assert [one.note for one in choose_by_quota(order, k, {})] == order[:k]
    assert [one.note for one in choose_by_quota(order, k, {"near": Quota()})] == order[:k]


@given(orders(), st.integers(1, 8), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_minimums_hold_as_far_as_the_channel_has_notes(order, k, shares):
    quotas = {name: Quota(least=share) for name, share in zip(NAMES, shares, strict=True)}
    needs = {name: quota.bounds(k)[0] for name, quota in quotas.items()}
    assume(sum(needs.values()) <= min(k, len(order)))
    chosen = choose_by_quota(order, k, quotas)
    notes = [one.note for one in chosen]
    assert len(notes) == min(k, len(order)) == len({one.note_id for one in notes})
    assert notes == [one for one in order if one in notes]
    for name, need in needs.items():
        assert owned(notes, name, k) >= min(need, owned(order, name, k))
    for one in chosen:
        assert (one.quota is None) == (one.note in order[:k])
        assert one.quota is None or owned([one.note], one.quota, k)


@given(orders(), st.integers(1, 8), st.floats(0, 1))
def test_a_maximum_gives_way_only_rather_than_leave_the_answer_short(order, k, share):
    quota = Quota(most=share)
    notes = [one.note for one in choose_by_quota(order, k, {"fresh": quota})]
    assert len(notes) == min(k, len(order))
    others = len(order) - owned(order, "fresh", k)
    assert owned(notes, "fresh", k) <= max(quota.bounds(k)[1], len(notes) - others)


def test_what_a_quota_brought_in_says_so_and_takes_the_last_place_not_needed():
    order = order_of([{"near": 1}, {"near": 2}, {"near": 3}, {"fresh": 2}, {"fresh": 1}])
    chosen = choose_by_quota(order, 3, parse_quotas("fresh=0.3..", NAMES))
    assert [(one.note.note_id, one.quota) for one in chosen] == [("n0", None), ("n1", None), ("n4", "fresh")]


def test_quotas_read():
    text = " near=0.2.. , fresh=..0.3,index=0.1..0.5"
    assert parse_quotas(text, NAMES) == {"near": Quota(0.2, 1.0), "fresh": Quota(0.0, 0.3), "index": Quota(0.1, 0.5)}
    assert parse_quotas("", NAMES) == {}
    assert Quota(0.2, 0.3).bounds(20) == (4, 6)
    assert Quota(0.1, 0.1).bounds(3) == (1, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("near", "'near' is no quota; write channel=least..most"),
        ("near=0.2", "'near=0.2' is no quota"),
        ("near=..", "'near=..' is no quota"),
        ("horoscope=0.2..", "'horoscope' is no channel; choose among near, index, fresh"),
        ("near=2..", "'2' in 'near=2..' is no share; give a number from 0 to 1"),
        ("near=..nan", "'nan' in 'near=..nan' is no share"),
        ("near=0.5..0.2", "asks for more than it allows"),
        ("near=0.5..,near=0.2..", "near is named twice"),
        ("near=0.7..,index=0.4..", "add up to more than 1"),
    ],
)
def test_bad_quotas_name_the_fix(text, says):
    with pytest.raises(BadSetting, match="TAGSTREAM_RECALL_QUOTAS: ") as raised:
        parse_quotas(text, NAMES)
    assert says in str(raised.value)
