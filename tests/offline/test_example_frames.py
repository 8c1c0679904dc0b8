"""What an example could not have known is found, one kind at a time, and nothing else is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.example_frames import find_leaks, frame_of, one_each, versions_of
from schemas.events import TrainingExample

CLEAN = TrainingExample(
    event_id="e1", user_id="u", note_id="n2", action="like", occurred_at=1000, source="interactions", partition=0, offset=5, bundle="b",
    history_notes=["n1"], history_weights=[2.0], history_at=[900], profile_tags=["tea"], profile_scores=[2.0], tags=["cup"], tags_at=950,
)  # fmt: skip
TEA, CUP, GOLD = ("tea", 1.0), ("cup", 0.5), ("gold", 0.25)
VERSIONS = versions_of([("n1", 100, [TEA], False, 0), ("n2", 950, [CUP], False, 0), ("n2", 2000, [CUP, GOLD], False, 0)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"history_at": [1001]}, "n1 acted on at 1001"),
        ({"history_notes": ["n2"], "history_at": [1000]}, "the note itself"),
        ({"tags_at": 2000}, "version of 2000"),
        ({"tags": ["cup", "gold"]}, "gold is known of n2 since 2000"),
        ({"tags": ["never"]}, "never never was a tag of n2"),
        ({"profile_tags": ["gold"], "profile_scores": [1.0]}, "gold is a tag of any note only since 2000"),
        ({"history_weights": []}, "differ in length"),
    ],
)
def test_each_kind_of_leak_is_named(change: dict[str, object], said: str) -> None:
    planted = msgspec.structs.replace(CLEAN, event_id="e2", offset=6, **change)
    found = find_leaks(frame_of([CLEAN, planted, CLEAN]), VERSIONS)
    assert found["row"].to_list() == [1]
    assert said in found["leak"][0]


def test_what_a_note_unknown_to_the_versions_carries_is_not_judged() -> None:
    other = msgspec.structs.replace(CLEAN, note_id="n9", tags=["x"], tags_at=1, profile_tags=["unheard"], profile_scores=[1.0])
    assert not len(find_leaks(frame_of([other]), VERSIONS))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 50)), max_size=30))
def test_one_row_stays_of_copies_and_of_repeated_event_ids(rows: list[tuple[int, int, int]]) -> None:
    made = [
        msgspec.structs.replace(CLEAN, event_id=f"e{event}", offset=offset, occurred_at=1000 + offset, dwell_ms=at)
        for at, (event, offset, _) in enumerate(rows)
    ]
    kept = one_each(frame_of(made))
    last = {offset: (f"e{event}", at) for at, (event, offset, _) in enumerate(rows)}
    wanted: dict[str, int] = {}
    for offset in sorted(last):
        wanted.setdefault(last[offset][0], last[offset][1])
    assert dict(kept.select("event_id", "dwell_ms").iter_rows()) == wanted
    assert kept["occurred_at"].is_sorted()
