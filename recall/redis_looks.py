"""What a query reads of the notes in Redis, all that it wants to see at one time in one round trip.

The lists come without their times: the server spends three times as long on writing those as on finding the members. Records have the
times, and are read of those notes alone that may be among the best. A record that was read before is known by its token, a hash of its
content, so it is unpacked once by a process and not once by each query.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from recall.redis_client import Client, in_places, read_all, together, value_calls
from recall.stores import ALL, Look, Looked, TagCounts, Window
from schemas.keys import Keys
from schemas.stored import TOKEN_BYTES, NoteGlance, unpack_glance

GLANCES_KEPT = 20_000
TAG_KEYS_KEPT = 20_000
Calls = list[tuple[Any, ...]]
Places = Sequence[Sequence[int]]
# KEYS: sorted sets; ARGV[1] the highest score that counts. Answers how many members each has up to it.
COUNT = """
local all = {}
for i, key in ipairs(KEYS) do all[i] = redis.call('ZCOUNT', key, '-inf', ARGV[1]) end
return all
"""


class RedisListed(NamedTuple):
    """``Listed``: members by tag."""

    members: Mapping[str, Sequence[bytes]]
    limit: int

    @property
    def cut(self) -> bool:
        """See ``Listed``."""
        return any(len(listed) >= self.limit for listed in self.members.values())

    def sums(self, weights: Mapping[str, float], best: int) -> dict[str, float]:
        """See ``Listed``."""
        import numpy as np

        totals: dict[bytes, float] = {}
        get = totals.get
        for text, weight in weights.items():
            for member in self.members[text]:
                totals[member] = get(member, 0.0) + weight
        if best <= 0 or not totals:
            return {}
        values = np.fromiter(totals.values(), np.float64, len(totals))
        last = max(len(totals) - best, 0)
        chosen = np.flatnonzero(values >= np.partition(values, last)[last])
        notes = list(totals)
        return {notes[place].decode(): value for place, value in zip(chosen.tolist(), values[chosen].tolist(), strict=True)}


class RedisLooks:
    """Looks at the notes of one bundle; safe to use from several threads."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._tag_key = lru_cache(TAG_KEYS_KEPT)(keys.tag)
        self._glances: dict[bytes, NoteGlance] = {}

    def look(self, look: Look, window: Window, limit: int) -> Looked:
        """See ``Notes``."""
        tags, counted, categories, notes = (list(dict.fromkeys(names)) for names in look)
        counts, count_places = self._counts(counted, window.until) if counted else ([], [])
        lists = [*map(self._tag_key, tags), *map(self._keys.recent, categories)] if limit > 0 else []
        values, value_places = value_calls(self._client, self._keys.notes(notes))
        answers = iter(read_all(self._client, [*counts, *range_calls(lists, window, limit), *values]))
        found = _counted(counted, count_places, list(islice(answers, len(counts))))
        listed = list(islice(answers, len(lists))) or [()] * (len(tags) + len(categories))
        return Looked(
            RedisListed(dict(zip(tags, listed, strict=False)), limit),
            found,
            {name: [note.decode() for note in members] for name, members in zip(categories, listed[len(tags) :], strict=True)},
            self._known(notes, in_places(value_places, list(answers), len(notes))),
        )

    def tag_counts(self, texts: Sequence[str], until: int | None) -> TagCounts:
        """See ``Notes``."""
        distinct = list(dict.fromkeys(texts))
        calls, places = self._counts(distinct, until)
        return _counted(distinct, places, read_all(self._client, calls))

    def _counts(self, texts: Sequence[str], until: int | None) -> tuple[Calls, Places]:
        """Commands that count all notes and those of each tag, and of each command the places of what it counts."""
        keys = [self._keys.recent(ALL), *map(self._tag_key, texts)]
        places = together(self._client, keys)
        high = "+inf" if until is None else until
        return [("EVAL", COUNT, len(some), *(keys[place] for place in some), high) for some in places], places

    def _known(self, note_ids: Sequence[str], values: Sequence[bytes | None]) -> dict[str, NoteGlance]:
        held = self._glances
        if len(held) > GLANCES_KEPT:
            held = self._glances = {}  # other threads go on with the former one
        found: dict[str, NoteGlance] = {}
        for note_id, value in zip(note_ids, values, strict=True):
            if not value:
                continue
            token = value[:TOKEN_BYTES]
            glance = held.get(token)
            if glance is None:
                glance = held[token] = unpack_glance(value)
            found[note_id] = glance
        return found


def _counted(texts: Sequence[str], places: Places, answers: Sequence[Sequence[int]]) -> TagCounts:
    if not places:
        return TagCounts(0, {})
    counts = in_places(places, answers, len(texts) + 1)
    return TagCounts(counts[0], dict(zip(texts, counts[1:], strict=True)))


def range_calls(keys: Sequence[str], window: Window, limit: int, *more: str) -> Calls:
    """Commands that read of each sorted set the newest members within the window; ``more``: words of the command besides."""
    low = "-inf" if window.since is None else window.since
    high = "+inf" if window.until is None else window.until
    return [("ZREVRANGEBYSCORE", key, high, low, *more, "LIMIT", 0, limit) for key in keys]
