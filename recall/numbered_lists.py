"""Lists of tags with numbers for notes, so that sums over thousands of members are a matter of arrays."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recall.stores import Window

Numbers = NDArray[np.int64]


class Listing(NamedTuple):
    """What a place lists, newest first, ties in the order Redis gives them. ``numbers``: the notes', shape (notes,); ``ages``: their
    publication times negated, so ascending."""

    numbers: Numbers
    ages: Numbers

    def within(self, window: Window) -> slice:
        """The part that the window accepts."""
        begin = 0 if window.until is None else int(np.searchsorted(self.ages, -window.until, "left"))
        end = len(self.ages) if window.since is None else int(np.searchsorted(self.ages, -window.since, "right"))
        return slice(begin, max(begin, end))


NOTHING_LISTED = Listing(np.zeros(0, np.int64), np.zeros(0, np.int64))


class NumberedLists(NamedTuple):
    """``Listed``: numbers of notes by tag; ``names``: of the notes, by number."""

    numbers: Mapping[str, Numbers]
    names: Sequence[str]
    limit: int

    @property
    def cut(self) -> bool:
        """See ``Listed``."""
        return any(len(listed) >= self.limit for listed in self.numbers.values())

    def sums(self, weights: Mapping[str, float], best: int) -> dict[str, float]:
        """See ``Listed``."""
        lists = [self.numbers[text] for text in weights]
        found, place = np.unique(np.concatenate([NOTHING_LISTED.numbers, *lists]), return_inverse=True)
        if best <= 0 or not len(found):
            return {}
        sums = np.bincount(place, np.repeat(np.fromiter(weights.values(), np.float64, len(lists)), list(map(len, lists))), len(found))
        last = max(len(sums) - best, 0)
        chosen = np.flatnonzero(sums >= np.partition(sums, last)[last])
        names = self.names
        return {names[number]: total for number, total in zip(found[chosen].tolist(), sums[chosen].tolist(), strict=True)}
