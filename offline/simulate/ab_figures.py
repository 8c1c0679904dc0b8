"""What an A/B test comes to: rates by arm and channel, with intervals over readers.

    PVCTR  clicks / impressions (page-view click-through rate)      AVDU  dwell in ms / readers (average view duration per user)
    PVIR   likes and favorites / impressions (interaction rate)     AIU   likes and favorites / readers (average interactions per user)

as the paper's tables 4 and 5 name them; all notes shown are younger than 24 hours. Intervals are 95 % percentile bootstrap intervals over
whole readers; of a difference between arms, the same readers are drawn for both.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.simulate.choice import Choice

RESAMPLES = 2000
MEASURES = ("pvctr", "pvir", "avdu_ms", "aiu")
_SHOWN, _CLICKS, _INTERACTIONS, _DWELL = range(4)
Counts = NDArray[np.float64]


class Tally:
    """Counts by arm and reader, and by arm, channel and reader. A result that several channels proposed counts for each of them."""

    def __init__(self, arms: Sequence[str], readers: int) -> None:
        self.readers = readers
        self._arms: dict[str, Counts] = {arm: np.zeros((readers, 4)) for arm in arms}
        self._channels: dict[str, dict[str, Counts]] = {arm: {} for arm in arms}

    def add(self, arm: str, row: int, channels: Sequence[str], choice: Choice) -> None:
        """A note was shown to the reader of a row, and what came of it."""
        counts = (1.0, float(choice.click), float(choice.like + choice.favorite), float(choice.dwell_ms))
        self._arms[arm][row] += counts
        for name in channels:
            self._channels[arm].setdefault(name, np.zeros((self.readers, 4)))[row] += counts

    def report(self, control: str, seed: int = 0) -> dict[str, Any]:
        """Figures of each arm, of its channels, and its relative differences to the control, ``[value, low, high]`` each.

        A figure is None where nothing was shown.
        """
        drawn = np.random.default_rng(seed).multinomial(self.readers, np.full(self.readers, 1 / self.readers), RESAMPLES)
        arms: dict[str, Any] = {}
        for arm, counts in self._arms.items():
            channels = sorted(self._channels[arm].items())
            arms[arm] = {
                "impressions": int(counts[:, _SHOWN].sum()),
                **_figures(counts, drawn),
                "against_control": None if arm == control else _differences(counts, self._arms[control], drawn),
                "by_channel": {
                    name: {"impressions": int(own[:, _SHOWN].sum()), **_figures(own, drawn, MEASURES[:2])} for name, own in channels
                },
            }
        return arms


def _measured(sums: Counts, measure: str, readers: int) -> Counts:
    """A measure of sums over readers, shape (..., 4)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Counts = {
            "pvctr": lambda: sums[..., _CLICKS] / sums[..., _SHOWN],
            "pvir": lambda: sums[..., _INTERACTIONS] / sums[..., _SHOWN],
            "avdu_ms": lambda: sums[..., _DWELL] / readers,
            "aiu": lambda: sums[..., _INTERACTIONS] / readers,
        }[measure]()
    return result


def _figures(counts: Counts, drawn: NDArray[np.int64], measures: Sequence[str] = MEASURES) -> dict[str, Any]:
    once, again = counts.sum(axis=0), drawn @ counts
    return {name: _interval(_measured(once, name, len(counts)), _measured(again, name, len(counts))) for name in measures}


def _differences(counts: Counts, control: Counts, drawn: NDArray[np.int64]) -> dict[str, Any]:
    """Relative to the control: 0.1 is a tenth more."""
    found = {}
    for name in MEASURES:
        with np.errstate(invalid="ignore", divide="ignore"):
            once = _measured(counts.sum(axis=0), name, len(counts)) / _measured(control.sum(axis=0), name, len(counts)) - 1
            again = _measured(drawn @ counts, name, len(counts)) / _measured(drawn @ control, name, len(counts)) - 1
        found[name] = _interval(once, again)
    return found


def _interval(once: Counts, again: Counts) -> list[float] | None:
    """Value, low and high; None where there is no value."""
    usable = again[np.isfinite(again)]
    if not np.isfinite(once) or not len(usable):
        return None
    return [round(float(value), 5) for value in (once, *np.quantile(usable, [0.025, 0.975]))]
