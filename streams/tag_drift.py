"""Tag quality and its drift: what a tagged note looks like in numbers, and how far a window of notes is from a reference.

A note becomes a vector of whole numbers; windows and references are sums of vectors, so they merge exactly in any order. Distance is the
population stability index, sum of (p - q) ln(p / q) over the bins of a measure, half a note added to each bin. Equal taggers give an index
near 0 but not 0: about (1/n + 1/m) chi-square with bins - 1 degrees of freedom (Yurdakul 2018), so an alert also asks for more than that.
"""

import math
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from schemas.events import NoteTagged
from schemas.settings import Settings
from streams.intervals import chi_square_bound

SUMS = ("notes", "tags", "low_information", "unknown", "covered_ppm")
BINS = {"tags_per_note": 11, "dimensions_covered": 11, "low_information_share": 6, "unknown_tag_share": 6, "confidence": 10}
LENGTH = len(SUMS) + sum(BINS.values())
RISING = ("low_information_share", "unknown_tag_share")
REFERENCE = -1
Vector = list[int]


class TagQuality(Struct, frozen=True):
    """One note's tags in numbers: how many, how many of them say little, how many hold no word the handbook knows, handbook dimensions
    covered out of those of the note's category, confidence of each."""

    tags: int
    low_information: int
    unknown: int
    covered: int
    dimensions: int
    confidences: list[float]


Quality = Callable[[NoteTagged], TagQuality]


class TagRow(Struct, array_like=True):
    """What one note adds under one bundle. ``order`` (event time, revision): a newer answer replaces an older one, an equal one changes
    nothing, so offsets need not be kept. ``window``: start, or ``REFERENCE``."""

    bundle: str
    order: tuple[int, int]
    window: int
    vector: Vector


class Reference(Struct, frozen=True):
    """What windows are compared with: a file made by ``tagstream offline tag-quality``."""

    bundle: str
    vector: Vector


class Thresholds(Struct, frozen=True):
    """When drift alerts."""

    psi: float
    share: float
    min_notes: int
    window_ms: int

    @staticmethod
    def of(settings: Settings) -> "Thresholds":
        window_ms = settings.metrics_drift_hours * 3_600_000
        return Thresholds(settings.metrics_drift_psi, settings.metrics_drift_share, settings.metrics_drift_min_notes, window_ms)


class Measure(Struct, frozen=True):
    """One measure of a window: mean in the reference and now, distance, whether it alerts and above which index."""

    reference: float
    now: float
    psi: float
    psi_alert: float
    alert: bool


class DriftWindow(Struct, frozen=True):
    """Tag quality of the notes of one window (epoch ms)."""

    start: int
    end: int
    notes: int
    measures: dict[str, Measure]


class Drift(Struct, frozen=True):
    """Windows of a bundle against its reference. ``origin``: ``given``, ``first notes`` or None where there is none yet."""

    bundle: str | None = None
    origin: str | None = None
    reference_notes: int = 0
    windows: list[DriftWindow] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)


def vector_of(quality: TagQuality) -> Vector:
    """A note as numbers: ``SUMS``, then the bins of each of ``BINS``."""
    covered = quality.covered / quality.dimensions if quality.dimensions else 0.0
    vector = [1, quality.tags, quality.low_information, quality.unknown, round(covered * 1_000_000)]
    places = {
        "tags_per_note": [min(quality.tags, BINS["tags_per_note"] - 1)],
        "dimensions_covered": [_bin(quality.covered, quality.dimensions, BINS["dimensions_covered"])],
        "low_information_share": [_bin(quality.low_information, quality.tags, BINS["low_information_share"])],
        "unknown_tag_share": [_bin(quality.unknown, quality.tags, BINS["unknown_tag_share"])],
        "confidence": [min(9, int(confidence * 10)) for confidence in quality.confidences],
    }
    for name, size in BINS.items():
        bins = [0] * size
        for place in places[name]:
            bins[place] += 1
        vector += bins
    return vector


def add(one: Sequence[int], other: Sequence[int]) -> Vector:
    """The sum of two vectors; the empty one is zero."""
    if not one or not other:
        return list(one or other)
    return [a + b for a, b in zip(one, other, strict=True)]


def bins_of(vector: Sequence[int], measure: str) -> list[int]:
    """The histogram of one measure."""
    start = len(SUMS)
    for name, size in BINS.items():
        if name == measure:
            return list(vector[start : start + size])
        start += size
    raise KeyError(measure)


def means(vector: Sequence[int]) -> dict[str, float]:
    """Mean of each measure: per note, of confidence per tag (from the middles of its bins), of the shares over all tags."""
    notes, tags, low, unknown, covered = vector[: len(SUMS)]
    confidence = bins_of(vector, "confidence")
    return {
        "tags_per_note": tags / max(1, notes),
        "dimensions_covered": covered / 1_000_000 / max(1, notes),
        "low_information_share": low / max(1, tags),
        "unknown_tag_share": unknown / max(1, tags),
        "confidence": sum((place + 0.5) / 10 * count for place, count in enumerate(confidence)) / max(1, sum(confidence)),
    }


def stability_index(reference: Sequence[int], now: Sequence[int]) -> float:
    """The population stability index of two histograms with the same bins."""
    before, after = sum(reference) + len(reference) / 2, sum(now) + len(now) / 2
    total = 0.0
    for one, other in zip(reference, now, strict=True):
        p, q = (one + 0.5) / before, (other + 0.5) / after
        total += (q - p) * math.log(q / p)
    return total


def compare(reference: Vector, window: int, now: Vector, thresholds: Thresholds) -> DriftWindow:
    """One window against the reference."""
    before, after = means(reference), means(now)
    notes = now[0]
    measures = {}
    for name, size in BINS.items():
        chance = (1 / max(1, reference[0]) + 1 / max(1, notes)) * chi_square_bound(size - 1)
        bound = max(thresholds.psi, chance)
        index = stability_index(bins_of(reference, name), bins_of(now, name))
        rises = name in RISING and after[name] - before[name] > thresholds.share
        alert = notes >= thresholds.min_notes and (index > bound or rises)
        measures[name] = Measure(before[name], after[name], index, bound, alert)
    return DriftWindow(window, window + thresholds.window_ms, notes, measures)


def drift_of(bundle: str | None, windows: dict[int, Vector], given: Reference | None, thresholds: Thresholds) -> Drift:
    """Every window of a bundle, oldest first; alerts are those of the newest window that has enough notes.

    Args:
        windows: sums of vectors by window start; under ``REFERENCE`` those of the bundle's first notes.
    """
    origin, reference = None, windows.get(REFERENCE, [])
    if given is not None and given.bundle == bundle:
        origin, reference = "given", given.vector
    elif reference:
        origin = "first notes"
    if not reference:
        return Drift(bundle)
    compared = [compare(reference, start, windows[start], thresholds) for start in sorted(windows) if start != REFERENCE]
    enough = [window for window in compared if window.notes >= thresholds.min_notes]
    alerts = [
        f"{name}: {measure.now:.3g} against {measure.reference:.3g}, stability index {measure.psi:.2f}"
        for name, measure in (enough[-1].measures.items() if enough else ())
        if measure.alert
    ]
    return Drift(bundle, origin, reference[0], compared, alerts)


def _bin(hits: int, total: int, bins: int) -> int:
    """0 for none, else the share's place among equal steps up to 1."""
    return min(bins - 1, -(-hits * (bins - 1) // total)) if total else 0
