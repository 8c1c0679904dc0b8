"""The figures as they are shown: cells of all partitions, wherever their process runs, merged into windows, arms and drift."""

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct, field

from schemas.topics import DAY_MS
from streams.distinct import Distinct
from streams.intervals import Interval, mean_interval, rate_interval, share_interval
from streams.metric_folds import CATEGORY, ArmDay
from streams.metric_windows import ARM, CHANNEL, COUNTED, Rules
from streams.tag_drift import Drift, Reference, Thresholds, Vector, add, drift_of

By = Literal["channel", "arm", "category"]
LABELS: dict[By, str] = {"channel": CHANNEL, "arm": ARM, "category": CATEGORY}
Cells = Mapping[str, Mapping[int, Mapping[str, bytes]]]
"""Table -> partition -> name of a cell -> JSON."""


class Window(Struct, frozen=True):
    """Actions on fresh notes in one window (epoch ms) under one label, None for events that name none. PVCTR: clicks per impression.
    PVIR: likes, favorites, comments and shares per impression. None without impressions."""

    start: int
    end: int
    by: dict[str, str | None]
    impressions: int
    clicks: int
    likes: int
    favorites: int
    comments: int
    shares: int
    pvctr: float | None
    pvctr_ci95: Interval | None
    pvir: float | None
    pvir_ci95: Interval | None


class Arm(Struct, frozen=True):
    """One experiment arm (None: readers in no experiment) on one day (UTC). ``users``: distinct readers, by sketch. AVDU: milliseconds
    viewed per reader; AIU: interactions per reader; of notes of any age."""

    arm: str | None
    day: str
    users: int
    views: int
    avdu_ms: float
    avdu_ci95: Interval | None
    interactions: int
    aiu: float
    aiu_ci95: Interval | None


class Report(Struct, frozen=True):
    """Everything. ``as_of``: newest event time counted, epoch ms; None before the first. ``late``, ``duplicates``, ``unknown_note``:
    events of the kept days that did not count, and why."""

    as_of: int | None = None
    windows: list[Window] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    drift: Drift = field(default_factory=Drift)
    late: int = 0
    duplicates: int = 0
    unknown_note: int = 0


def report(
    cells: Cells, by: By, rules: Rules, thresholds: Thresholds, *, bundle: str | None = None, reference: Reference | None = None
) -> Report:
    """Merges the cells that the partitions told; the order of partitions and of telling does not matter.

    Args:
        bundle: whose tag quality is shown, the live one.
        reference: what it is compared with, where one is given for that bundle.
    """
    arms: dict[tuple[int, str], list[ArmDay]] = defaultdict(list)
    refused: dict[int, list[int]] = {}
    newest = 0
    for held in cells.get("readers", {}).values():
        for name, value in held.items():
            match json.loads(name):
                case []:
                    newest = max(newest, msgspec.json.decode(value, type=int))
                case [day]:
                    refused[day] = add(refused.get(day, []), msgspec.json.decode(value, type=list[int]))
                case [day, arm]:
                    arms[day, arm].append(msgspec.json.decode(value, type=ArmDay))
    since = rules.kept_from(newest)
    kept = [counts for day, counts in refused.items() if day + DAY_MS > since]
    return Report(
        as_of=newest or None,
        windows=_windows(cells, by, rules, since),
        arms=[_arm(day, arm, arms[day, arm]) for day, arm in sorted(arms) if day + DAY_MS > since],
        drift=drift_of(bundle, _tag_windows(cells, bundle), reference, thresholds),
        late=sum(late for late, _ in kept),
        duplicates=sum(duplicates for _, duplicates in kept),
        unknown_note=sum(msgspec.json.decode(held["[]"], type=int) for held in cells.get("notes", {}).values() if "[]" in held),
    )


def window_of(start: int, end: int, by: dict[str, str | None], counts: list[int]) -> Window:
    """Counts in the order of ``COUNTED`` with their rates."""
    impressions, clicks, likes, favorites, comments, shares = counts
    acted = likes + favorites + comments + shares
    return Window(
        start=start,
        end=end,
        by=by,
        impressions=impressions,
        clicks=clicks,
        likes=likes,
        favorites=favorites,
        comments=comments,
        shares=shares,
        pvctr=clicks / impressions if impressions else None,
        pvctr_ci95=share_interval(clicks, impressions),
        pvir=acted / impressions if impressions else None,
        pvir_ci95=rate_interval(acted, impressions),
    )


def together(windows: list[Window], since: int) -> list[Window]:
    """The windows that end after a time, added up by label."""
    sums: dict[str | None, list[int]] = {}
    spans: dict[str | None, tuple[int, int]] = {}
    for window in windows:
        if window.end <= since:
            continue
        (label,) = window.by.values()
        counts = [getattr(window, f"{action}s") for action in COUNTED]
        sums[label] = add(sums.get(label, []), counts)
        first, last = spans.get(label, (window.start, window.end))
        spans[label] = min(first, window.start), max(last, window.end)
    (name,) = windows[0].by if windows else ("channel",)
    return [window_of(*spans[label], {name: label}, sums[label]) for label in sorted(sums, key=lambda label: label or "")]


def _windows(cells: Cells, by: By, rules: Rules, since: int) -> list[Window]:
    sums: dict[tuple[int, str], list[int]] = {}
    for held in cells.get("notes", {}).values():
        for name, value in held.items():
            match json.loads(name):
                case [window, label] if label.startswith(LABELS[by]) and window + rules.window_ms > since:
                    sums[window, label[1:]] = add(sums.get((window, label[1:]), []), msgspec.json.decode(value, type=list[int]))
    return [window_of(start, start + rules.window_ms, {by: label or None}, sums[start, label]) for start, label in sorted(sums)]


def _arm(day: int, arm: str, parts: list[ArmDay]) -> Arm:
    sketch = Distinct()
    for part in parts:
        sketch.merge(Distinct(part.users))
    users = max(1.0, sketch.count())
    dwell, views, acted = (sum(getattr(part, name) for part in parts) for name in ("dwell_ms", "views", "interactions"))
    dwell_squares, acted_squares = (sum(getattr(part, name) for part in parts) for name in ("dwell_squares", "interaction_squares"))
    return Arm(
        arm=arm or None,
        day=datetime.fromtimestamp(day / 1000, UTC).strftime("%Y-%m-%d"),
        users=round(users),
        views=views,
        avdu_ms=dwell / users,
        avdu_ci95=mean_interval(users, dwell, dwell_squares),
        interactions=acted,
        aiu=acted / users,
        aiu_ci95=mean_interval(users, acted, acted_squares),
    )


def _tag_windows(cells: Cells, bundle: str | None) -> dict[int, Vector]:
    windows: dict[int, Vector] = {}
    for held in cells.get("tags", {}).values():
        for name, value in held.items():
            of, window = json.loads(name)
            if of == bundle:
                windows[window] = add(windows.get(window, []), msgspec.json.decode(value, type=list[int]))
    return windows
