"""What each tag lists, kept by a process for as long as nobody wrote to it.

A query looks at a hundred lists with a hundred notes each, and most of them are as they were a second ago. Who writes to a list also writes
a new stamp beside it, afterwards, so a list read under the stamp that is there now is the list that is there now. Stamps are random: one
that comes back says that nothing was written, even where the server lost its data in between. A list without a stamp is read each time.

A list is kept from its newest note on, whatever window was asked for, with the times of its notes.
"""

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from recall.numbered_lists import NOTHING_LISTED, Listing, NumberedLists, Numbers
from recall.redis_client import Client, read_all, together
from recall.stores import Window
from schemas.keys import Keys

MEMBERS_KEPT = 200_000
LISTS_KEPT = 20_000
LONGEST_KEPT = 1_000
Calls = list[tuple[Any, ...]]
Places = Sequence[Sequence[int]]
# KEYS: the sorted sets of tags, then their stamps; ARGV[1] the highest score that counts. Answers of each tag how many members it has up to
# that, and its stamp.
STATES = """
local all, tags = {}, #KEYS / 2
for i = 1, tags do
  all[2 * i - 1] = ARGV[1] == '+inf' and redis.call('ZCARD', KEYS[i]) or redis.call('ZCOUNT', KEYS[i], '-inf', ARGV[1])
  all[2 * i] = redis.call('GET', KEYS[tags + i]) or ''
end
return all
"""
# The same; ARGV[2] how many members to answer at most. Answers of each tag its stamp and the newest members up to the score, with scores.
LISTS = """
local all, tags = {}, #KEYS / 2
for i = 1, tags do
  all[2 * i - 1] = redis.call('GET', KEYS[tags + i]) or ''
  all[2 * i] = redis.call('ZREVRANGEBYSCORE', KEYS[i], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
end
return all
"""


class State(NamedTuple):
    """What is known of a list without reading it. ``notes``: how many it has up to the window's end."""

    notes: int
    stamp: bytes


class _Kept(NamedTuple):
    """A list as it was read. ``whole``: it was not cut."""

    stamp: bytes
    listing: Listing
    whole: bool


class _Held:
    """Lists by tag and the numbers of their members; begun anew, both together, when there are too many."""

    def __init__(self) -> None:
        self.lists: dict[str, _Kept] = {}
        self.names: list[str] = []
        self._numbers: dict[bytes, int] = {}
        self._writing = threading.Lock()

    @property
    def full(self) -> bool:
        return len(self.names) > MEMBERS_KEPT or len(self.lists) > LISTS_KEPT

    def numbered(self, members: Sequence[bytes]) -> Numbers:
        numbers = self._numbers
        with self._writing:
            for member in members:
                if member not in numbers:
                    numbers[member] = len(self.names)
                    self.names.append(member.decode())
        return np.fromiter((numbers[member] for member in members), np.int64, len(members))


class KeptLists:
    """The lists of one bundle's tags; safe to use from several threads."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._held = _Held()

    def state_calls(self, texts: Sequence[str], until: int | None) -> tuple[Calls, Places]:
        """Commands that ask for the tags' states, and of each command the places of its tags."""
        return self._calls(STATES, texts, _highest(until))

    @staticmethod
    def states(texts: Sequence[str], places: Places, answers: Sequence[Sequence[Any]]) -> dict[str, State]:
        """The tags' states from the answers to ``state_calls``."""
        found: dict[str, State] = {}
        for some, answer in zip(places, answers, strict=True):
            values = iter(answer)
            found.update((texts[place], State(*islice(values, 2))) for place in some)
        return found

    def read(self, states: dict[str, State], window: Window, limit: int) -> NumberedLists:
        """The ``limit`` newest notes of each tag within the window; ``states``: as the server told them just now.

        Raises:
            Transient: when Redis does not answer.
        """
        if self._held.full:
            self._held = _Held()  # other threads go on with the former one
        held = self._held
        found: dict[str, Listing] = {}
        missing: list[str] = []
        for text, state in states.items():
            kept = held.lists.get(text)
            if state.notes and limit > 0:
                if kept and window.until is None and kept.stamp == state.stamp and (kept.whole or len(kept.listing.ages) >= limit):
                    found[text] = kept.listing
                else:
                    missing.append(text)
        for text, stamp, members in self._lists(missing, window.until, limit):
            found[text] = Listing(held.numbered(members[::2]), -np.array(members[1::2], np.bytes_).astype(np.float64).astype(np.int64))
            if stamp and window.until is None and limit <= LONGEST_KEPT:
                held.lists[text] = _Kept(stamp, found[text], len(found[text].ages) < limit)
        listings = {text: found.get(text, NOTHING_LISTED) for text in states}
        return NumberedLists({text: one.numbers[one.within(window)][:limit] for text, one in listings.items()}, held.names, limit)

    def _lists(self, texts: Sequence[str], until: int | None, limit: int) -> Iterator[tuple[str, bytes, Sequence[bytes]]]:
        calls, places = self._calls(LISTS, texts, _highest(until), limit)
        for some, answer in zip(places, read_all(self._client, calls), strict=True):
            values = iter(answer)
            yield from ((texts[place], *islice(values, 2)) for place in some)

    def _calls(self, script: str, texts: Sequence[str], *bounds: Any) -> tuple[Calls, Places]:
        keys = self._keys.tags(texts)
        stamps = self._keys.stamps(keys)
        places = together(self._client, keys)
        named = [(*(keys[place] for place in some), *(stamps[place] for place in some)) for some in places]
        return [("EVAL", script, len(names), *names, *bounds) for names in named], places


def _highest(until: int | None) -> int | str:
    return "+inf" if until is None else until
