"""Shares of an answer that channels are due: a guaranteed minimum, a maximum, or both, applied after the merge.

A note counts for a channel when the channel ranks it among its own first k, k being the length of the answer; so a note may count for
several, and a channel with a small weight in the merge can still be given a minimum. A minimum holds as far as the channel has notes. A
maximum gives way only rather than leave the answer short.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from recall.merge import Ranked
from schemas.errors import BadSetting

SUM_MAX = 1.0 + 1e-9
VARIABLE = "TAGSTREAM_RECALL_QUOTAS"


class Quota(Struct, frozen=True):
    """Least and greatest share of the results, 0 to 1."""

    least: float = 0.0
    most: float = 1.0

    def bounds(self, k: int) -> tuple[int, int]:
        """The shares of ``k`` results in notes: the least rounded up, the most rounded down but never below the least."""
        least = math.ceil(round(self.least * k, 9))
        return least, max(least, math.floor(round(self.most * k, 9)))


class Chosen(NamedTuple):
    """A note of an answer. ``quota``: the channel whose minimum brought it in, None where its place in the merge did."""

    note: Ranked
    quota: str | None = None


def parse_quotas(text: str, channels: Collection[str]) -> dict[str, Quota]:
    """Reads ``two_tower=0.2..,fresh=..0.3,tag_index_idf=0.1..0.5``.

    Raises:
        BadSetting: naming the entry and the fix.
    """
    quotas: dict[str, Quota] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, bounds = (part.strip() for part in entry.partition("="))
        low, dots, high = (part.strip() for part in bounds.partition(".."))
        if not equals or not dots or not (low or high):
            raise BadSetting(f"{VARIABLE}: {entry!r} is no quota; write channel=least..most, such as two_tower=0.2.. or fresh=..0.3")
        known(VARIABLE, name, channels)
        if name in quotas:
            raise BadSetting(f"{VARIABLE}: {name} is named twice; give each channel one quota")
        quotas[name] = Quota(_share(low or "0", entry), _share(high or "1", entry))
        if quotas[name].least > quotas[name].most:
            raise BadSetting(f"{VARIABLE}: {entry!r} asks for more than it allows; put the smaller share first")
    if sum(quota.least for quota in quotas.values()) > SUM_MAX:
        raise BadSetting(f"{VARIABLE}: the minimum shares add up to more than 1; lower one of them")
    return quotas


def known(variable: str, name: str, channels: Collection[str]) -> None:
    """Raises ``BadSetting`` for a name that is no channel."""
    if name not in channels:
        raise BadSetting(f"{variable}: {name!r} is no channel; choose among {', '.join(channels)}")


def choose_by_quota(order: Sequence[Ranked], k: int, quotas: Mapping[str, Quota]) -> list[Chosen]:
    """The first ``k`` of ``order`` that the quotas allow, in that order, then what minimums bring in, in their places in ``order``."""
    if not quotas:
        return [Chosen(one) for one in order[:k]]
    choice = _Choice(order, k, quotas)
    choice.fill()
    for name in quotas:
        choice.bring_in(name)
    return [Chosen(order[place], choice.brought.get(place)) for place in sorted(choice.places)]


class _Choice:
    """Places of ``order`` chosen so far."""

    def __init__(self, order: Sequence[Ranked], k: int, quotas: Mapping[str, Quota]) -> None:
        self._order = order
        self._size = min(k, len(order))
        self._bounds = {name: quota.bounds(k) for name, quota in quotas.items()}
        self._own = {name: _own(order, name, k) for name in quotas}
        self.places: set[int] = set()
        self.brought: dict[int, str] = {}

    def fill(self) -> None:
        """In order, what no maximum forbids; then, rather than stay short, what one does."""
        for place in range(len(self._order)):
            if len(self.places) < self._size and self._fits(place):
                self.places.add(place)
        self.places.update([place for place in range(len(self._order)) if place not in self.places][: self._size - len(self.places)])

    def bring_in(self, name: str) -> None:
        """A channel's best notes that are missing, each for the last result that no minimum needs."""
        for place in self._own[name]:
            if self._count(name) >= self._bounds[name][0]:
                return
            if place in self.places:
                continue
            out = next((held for held in sorted(self.places, reverse=True) if self._spare(held, name)), None)
            if out is None:
                return
            self.places.remove(out)
            if self._fits(place):
                self.places.add(place)
                self.brought[place] = name
                self.brought.pop(out, None)
            else:
                self.places.add(out)

    def _count(self, name: str) -> int:
        return len(self.places & self._own[name].keys())

    def _fits(self, place: int) -> bool:
        return all(place not in own or self._count(name) < self._bounds[name][1] for name, own in self._own.items())

    def _spare(self, place: int, wanted: str) -> bool:
        return all(place not in own or (name != wanted and self._count(name) > self._bounds[name][0]) for name, own in self._own.items())


def _own(order: Sequence[Ranked], name: str, k: int) -> dict[int, None]:
    """Places of the notes that the channel ranks among its first ``k``, its best first."""
    ranks = {place: part.rank for place, one in enumerate(order) for part in one.channels if part.name == name and part.rank <= k}
    return dict.fromkeys(sorted(ranks, key=lambda place: ranks[place]))


def _share(text: str, entry: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0.0 <= share <= 1.0:
        raise BadSetting(f"{VARIABLE}: {text!r} in {entry!r} is no share; give a number from 0 to 1")
    return share
