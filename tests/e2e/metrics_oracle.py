"""An independent computation of the metrics over a log: the rules of the README in plain Python, one event after the other, no stores."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from schemas.events import Interaction, NoteEvent
from schemas.settings import Settings

DAY = 86_400_000
ACTED = ("like", "favorite", "comment", "share")
COLUMNS = {
    "impression": "impressions",
    "click": "clicks",
    "like": "likes",
    "favorite": "favorites",
    "comment": "comments",
    "share": "shares",
}


class Logged(NamedTuple):
    """An interaction and Kafka's timestamp of it."""

    event: Interaction
    timestamp: int


def expected(partitions: Iterable[Sequence[Logged]], notes: Iterable[NoteEvent], settings: Settings) -> dict[str, Any]:
    """``windows``: (dimension, start, label) -> counts; ``arms``: (arm, day) -> users, dwell, interactions; ``late`` and so on."""
    window_ms, grace = settings.metrics_window_minutes * 60_000, settings.metrics_grace_minutes * 60_000
    first: dict[str, NoteEvent] = {}
    for note in notes:
        first.setdefault(note.note_id, note)
    counts: dict[tuple[str, int, str | None], Counter[str]] = defaultdict(Counter)
    readers: dict[tuple[str | None, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    found = {"late": 0, "duplicates": 0, "unknown_note": 0, "as_of": 0}
    for log in partitions:
        stream_time, known = 0, set()
        for event, timestamp in log:
            stream_time = max(stream_time, min(event.occurred_at, timestamp))
            start = event.occurred_at // window_ms * window_ms
            if start + window_ms + grace <= stream_time:
                found["late"] += 1
                continue
            if (event.user_id, event.event_id) in known:
                found["duplicates"] += 1
                continue
            known.add((event.user_id, event.event_id))
            arms = [f"{name}={value}" for name, value in event.experiment.items()] or [None]
            for arm in arms:
                of = readers[arm, event.occurred_at // DAY * DAY][event.user_id]
                of[0] += event.action == "view"
                of[1] += (event.dwell_ms or 0) * (event.action == "view")
                of[2] += event.action in ACTED
            if event.action not in COLUMNS:
                continue
            if event.note_id not in first:
                found["unknown_note"] += 1
                continue
            note = first[event.note_id]
            if event.occurred_at - note.published_at < settings.metrics_fresh_hours * 3_600_000:
                column = COLUMNS[event.action]
                counts["channel", start, event.channel][column] += 1
                counts["category", start, note.category][column] += 1
                for arm in arms:
                    counts["arm", start, arm][column] += 1
        found["as_of"] = max(found["as_of"], stream_time)
    kept = found["as_of"] - settings.metrics_keep_hours * 3_600_000
    return found | {
        "windows": {key: dict(count) for key, count in counts.items() if key[1] + window_ms > kept},
        "arms": {key: dict(of) for key, of in readers.items() if key[1] + DAY > kept},
    }


def assert_equal(shown: Mapping[str, Mapping[str, Any]], want: Mapping[str, Any]) -> None:
    """``shown``: the documents of ``tagstream metrics --json`` by dimension."""
    for by, document in shown.items():
        for name in ("late", "duplicates", "unknown_note", "as_of"):
            assert document[name] == want[name], (name, document[name], want[name])
        got = {
            (by, window["start"], window["by"][by]): {name: window[name] for name in COLUMNS.values() if window[name]}
            for window in document["windows"]
        }
        wanted = {key: count for key, count in want["windows"].items() if key[0] == by}
        wrong = {key: (got.get(key), wanted.get(key)) for key in got.keys() | wanted.keys() if got.get(key) != wanted.get(key)}
        assert not wrong, f"got, wanted: {dict(list(wrong.items())[:5])} and {max(0, len(wrong) - 5)} more of {len(wanted)}"
        for window in document["windows"]:
            assert_rates(window)
    days = {day: datetime.fromtimestamp(day / 1000, UTC).strftime("%Y-%m-%d") for _, day in want["arms"]}
    arms = {(arm["arm"], arm["day"]): arm for arm in next(iter(shown.values()))["arms"]}
    assert set(arms) == {(arm, days[day]) for arm, day in want["arms"]}
    for (arm, day), readers in want["arms"].items():
        got = arms[arm, days[day]]
        views, dwell, acted = (sum(of[place] for of in readers.values()) for place in range(3))
        assert math.isclose(got["users"], len(readers), rel_tol=0.03, abs_tol=1)
        assert (got["views"], got["interactions"]) == (views, acted)
        assert math.isclose(got["avdu_ms"], dwell / len(readers), rel_tol=0.03)
        assert math.isclose(got["aiu"], acted / len(readers), rel_tol=0.03)
        if got["aiu_ci95"]:
            assert got["aiu_ci95"][0] <= got["aiu"] <= got["aiu_ci95"][1]


def assert_rates(window: Mapping[str, Any]) -> None:
    impressions = window["impressions"]
    if not impressions:
        assert window["pvctr"] is window["pvir"] is window["pvctr_ci95"] is None
        return
    acted = sum(window[name] for name in ("likes", "favorites", "comments", "shares"))
    assert math.isclose(window["pvctr"], window["clicks"] / impressions)
    assert math.isclose(window["pvir"], acted / impressions)
    assert window["pvir_ci95"][0] <= window["pvir"] <= window["pvir_ci95"][1]
    if window["clicks"] <= impressions:
        assert window["pvctr_ci95"][0] <= window["pvctr"] + 1e-12
        assert window["pvctr"] <= window["pvctr_ci95"][1] + 1e-12
