"""Samples into three sets that share nothing: to fine-tune on, to draw preferences from, to judge on (paper section 4.1, Table 1)."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from schemas.errors import BadSetting

SETS = ("sft", "dpo_pool", "eval")
Group = Sequence[int]


class Room(NamedTuple):
    """How many samples each set is to have. ``every``: whether all samples must find a place, even where a group is larger than that."""

    sizes: tuple[int, ...]
    every: bool


def room_of(amounts: Sequence[float], total: int) -> Room:
    """The sizes that shares (together 1) or counts (whole numbers) mean.

    Raises:
        BadSetting: when they are neither, or more than there is.
    """
    if any(amount < 0 for amount in amounts):
        raise BadSetting("--sft, --dpo, --eval: give no negative numbers")
    if abs(sum(amounts) - 1) < 1e-6:
        ends = [round(total * share) for share in np.cumsum([0, *amounts])]
        return Room(tuple(end - start for start, end in pairwise(ends)), every=True)
    if not all(amount == int(amount) for amount in amounts):
        raise BadSetting(f"--sft, --dpo, --eval: {' + '.join(f'{one:g}' for one in amounts)} is not 1; give shares of 1, or counts")
    if sum(amounts) > total:
        raise BadSetting(f"--sft, --dpo, --eval: they ask for {sum(amounts):g} samples of {total}; give lower counts, or shares of 1")
    return Room(tuple(int(amount) for amount in amounts), every=False)


def allot(groups: Sequence[Group], categories: Sequence[str], room: Room, seed: int) -> list[int]:
    """The set of each sample by its number in ``SETS``; -1 for one left out, which only happens where not every one must be placed.

    A group is never torn. Large ones come first, each where most of it is wanted; single ones then even out what is lacking of each
    category. Every set is to have the categories in the same shares. The order within a size is drawn by the seed.
    """
    return _Allotment(categories, room).run(groups, seed)


class _Allotment:
    """``_lacks``: by set and category, how many are still wanted; below zero where a large group went beyond."""

    def __init__(self, categories: Sequence[str], room: Room) -> None:
        self._categories = categories
        self._every = room.every
        self._left = list(room.sizes)
        self._wanted = _wanted(Counter(categories), room.sizes)
        self._lacks = [Counter(one) for one in self._wanted]
        self._places = [-1] * len(categories)

    def run(self, groups: Sequence[Group], seed: int) -> list[int]:
        drawn = np.random.default_rng(seed).permutation(len(groups))
        order = sorted(drawn, key=lambda number: -len(groups[number]))
        later = [number for number in order if not self._place(groups[number], exact=len(groups[number]) == 1)]
        for number in later:
            if self._places[groups[number][0]] < 0:
                self._place(groups[number], exact=False)
        return self._places

    def _place(self, group: Group, exact: bool) -> bool:
        """Puts a group where it fits best; False where it fits nowhere, or with ``exact`` is not wanted anywhere."""
        held = Counter(self._categories[one] for one in group)
        open_ = [one for one in range(len(self._left)) if self._every or self._left[one] >= len(group)]
        if not open_:
            return False
        fits = {one: sum(min(count, max(self._lacks[one][name], 0)) for name, count in held.items()) for one in open_}
        if exact and not max(fits.values()):
            return False
        beyond = {one: max(0, len(group) - self._left[one]) for one in open_}
        best = min(open_, key=lambda one: (beyond[one], -fits[one], -self._share_left(one, held), one))
        for name, count in held.items():
            self._lacks[best][name] -= count
        self._left[best] -= len(group)
        for one in group:
            self._places[one] = best
        return True

    def _share_left(self, place: int, held: Counter[str]) -> float:
        """How much of what it was to have of these categories a set still lacks."""
        lacks = sum(max(self._lacks[place][name], 0) for name in held)
        return lacks / max(1, sum(self._wanted[place][name] for name in held))


def _wanted(held: Counter[str], sizes: Sequence[int]) -> list[Counter[str]]:
    """Sizes by set and category, whole numbers in proportion; what is rounded away of one category comes back with the next."""
    total, seen = max(1, held.total()), 0
    before, wanted = [0] * (len(sizes) + 1), [Counter[str]() for _ in sizes]
    for name in sorted(held):
        seen += held[name]
        ends = [round(seen * end / total) for end in np.cumsum([0, *sizes])]
        for number, (start, end) in enumerate(pairwise(range(len(ends)))):
            wanted[number][name] = (ends[end] - ends[start]) - (before[end] - before[start])
        before = ends
    return wanted
