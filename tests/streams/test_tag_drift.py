"""Drift of tag quality: vectors add up, equal taggers raise no alert, worse ones do, each note counts once under each bundle."""

import random

import pytest
from hypothesis import given, strategies

from schemas.codec import encode, version_headers
from schemas.events import NoteTagged, Tag
from streams.metric_steps import Record, TagStep
from streams.metric_windows import Rules
from streams.tag_drift import (
    BINS,
    LENGTH,
    REFERENCE,
    Reference,
    TagQuality,
    Thresholds,
    add,
    bins_of,
    drift_of,
    means,
    stability_index,
    vector_of,
)

DAY = 86_400_000
RULES = Rules(3_600_000, 3_600_000, DAY, 4 * DAY, 10)
THRESHOLDS = Thresholds(psi=0.25, share=0.1, min_notes=50, window_ms=DAY)
qualities = strategies.builds(
    lambda tags, low, unknown, covered, sure: TagQuality(tags, min(low, tags), min(unknown, tags), min(covered, 8), 8, [sure] * tags),
    strategies.integers(0, 15), strategies.integers(0, 15), strategies.integers(0, 15), strategies.integers(0, 9), strategies.floats(0, 1),
)  # fmt: skip


@given(strategies.lists(qualities, min_size=1, max_size=20))
def test_vectors_add_up_to_means_and_histograms(several):
    total = []
    for one in several:
        total = add(total, vector_of(one))
    assert len(total) == LENGTH
    for name in BINS:
        assert sum(bins_of(total, name)) == (sum(one.tags for one in several) if name == "confidence" else len(several))
    found = means(total)
    assert found["tags_per_note"] == pytest.approx(sum(one.tags for one in several) / len(several))
    assert found["low_information_share"] == pytest.approx(
        sum(one.low_information for one in several) / max(1, sum(one.tags for one in several))
    )
    assert found["dimensions_covered"] == pytest.approx(sum(one.covered / 8 for one in several) / len(several), abs=1e-6)


def test_an_index_is_zero_for_the_same_and_grows_with_the_distance():
    assert stability_index([10, 20, 30], [10, 20, 30]) == 0
    near, far = stability_index([100, 200, 300], [120, 190, 290]), stability_index([100, 200, 300], [300, 200, 100])
    assert 0 < near < 0.05 < 0.5 < far


def drawn(rng, notes, tags, low, confidence):
    total = []
    for _ in range(notes):
        count = max(1, min(10, round(rng.gauss(tags, 1.5))))
        weak = sum(rng.random() < low for _ in range(count))
        values = [min(1.0, max(0.0, rng.gauss(confidence, 0.15))) for _ in range(count)]
        total = add(total, vector_of(TagQuality(count, weak, 0, min(8, count), 8, values)))
    return total


def test_equal_taggers_raise_no_alert_and_worse_ones_do():
    rng = random.Random(3)
    alerts = 0
    for _ in range(40):
        windows = {REFERENCE: drawn(rng, 200, 7, 0.1, 0.7), 0: drawn(rng, 60, 7, 0.1, 0.7)}
        alerts += bool(drift_of("b", windows, None, THRESHOLDS).alerts)
    assert alerts <= 1
    worse = {REFERENCE: drawn(rng, 200, 7, 0.1, 0.7), 0: drawn(rng, 200, 7, 0.1, 0.7), DAY: drawn(rng, 200, 4, 0.4, 0.4)}
    drift = drift_of("b", worse, None, THRESHOLDS)
    assert (drift.origin, drift.reference_notes, [window.start for window in drift.windows]) == ("first notes", 200, [0, DAY])
    assert {alert.partition(":")[0] for alert in drift.alerts} >= {"tags_per_note", "low_information_share", "confidence"}
    few = worse | {DAY: drawn(rng, 49, 4, 0.4, 0.4)}
    assert drift_of("b", few, None, THRESHOLDS).alerts == [], "too few notes to say so"


def test_a_given_reference_is_used_for_its_own_bundle_only():
    rng = random.Random(5)
    given_one = Reference("b", drawn(rng, 100, 7, 0.1, 0.7))
    windows = {0: drawn(rng, 100, 7, 0.1, 0.7)}
    assert drift_of("b", windows, given_one, THRESHOLDS).origin == "given"
    assert drift_of("other", windows, given_one, THRESHOLDS).origin is None
    assert drift_of(None, {}, None, THRESHOLDS).alerts == []


def tagged(number, at=0, bundle="b", tags=3, revision=0, deleted=False):
    made = [Tag(text=f"t{place}", dimension="d", rank=place + 1, confidence=0.5) for place in range(tags)]
    return NoteTagged(
        note_id=f"n{number}", author_id="a", occurred_at=at, published_at=at, bundle=bundle, tags=made, revision=revision, deleted=deleted
    )


def never(bundle):
    return False


def quality(note):
    return TagQuality(len(note.tags), 0, 0, 1, 8, [tag.confidence for tag in note.tags])


def run(step, batches):
    rows, fold = {}, step.fold()
    offset = 0
    for notes in batches:
        records = [Record("t", 0, offset + place, b"", encode(one), version_headers(one), 0) for place, one in enumerate(notes)]
        offset += len(notes)
        decided = step.decide(0, records, rows.get, fold)
        for key, packed in decided.packed().items():
            if packed is None:
                del rows[key]
            else:
                rows[key] = packed
            fold.replace(key, decided.rows[key])
    return {name: value for name, value in fold.take().items() if value is not None}, rows


@given(
    strategies.lists(
        strategies.builds(
            tagged, strategies.integers(0, 5), strategies.integers(0, 2 * DAY), strategies.sampled_from("bc"), strategies.integers(0, 4)
        ),
        max_size=30,
    ),
    strategies.integers(1, 30),
)
def test_batches_and_redelivery_do_not_matter(notes, size):
    step = TagStep(RULES, DAY, quality, first=2, given=never)
    batches = [notes[start : start + size] for start in range(0, len(notes), size)]
    assert run(step, [notes])[0] == run(step, [*batches, *batches])[0]


def test_the_first_notes_are_the_reference_and_the_newest_answer_counts():
    step = TagStep(RULES, DAY, quality, first=2, given=never)
    told, _ = run(
        step, [[tagged(1), tagged(2), tagged(3), tagged(3, tags=5, revision=1), tagged(3), tagged(4, deleted=True), tagged(9, bundle="c")]]
    )
    assert {name: value[:5] for name, value in told.items()} == {'["b",-1]': b"[2,6,", '["b",0]': b"[1,5,", '["c",-1]': b"[1,3,"}
    told, _ = run(TagStep(RULES, DAY, quality, first=2, given="b".__eq__), [[tagged(1), tagged(2)]])
    assert list(told) == ['["b",0]']


def test_old_windows_go_and_the_reference_stays():
    told, rows = run(TagStep(RULES, DAY, quality, first=1, given=never), [[tagged(1), tagged(2)], [tagged(3, at=9 * DAY)]])
    assert set(told) == {'["b",-1]', f'["b",{9 * DAY}]'}
    assert len(rows) == 2
