"""What a query reads of the notes in Redis, all that it wants to see at one time in one round trip.

The lists come without their times: the server spends three times as long on writing those as on finding the members. Records have the
times, and are read of those notes alone that may be among the best. A record that was read before is known by its token, a hash of its
content, so it is unpacked once by a process and not once by each query.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from recall.redis_client import Client, in_places, read_all, value_calls
from recall.stores import ALL, Look, Looked, TagCounts, Window
from schemas.keys import Keys
from schemas.stored import TOKEN_BYTES, NoteGlance, unpack_glance

if TYPE_CHECKING:
    from recall.kept_lists import KeptLists

GLANCES_KEPT = 20_000
Calls = list[tuple[Any, ...]]


class RedisLooks:
    """Looks at the notes of one bundle; safe to use from several threads."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._glances: dict[bytes, NoteGlance] = {}

    @cached_property
    def _lists(self) -> "KeptLists":
        from recall.kept_lists import KeptLists  # numpy, which a command that only looks a note up does without

        return KeptLists(self._client, self._keys)

    def look(self, look: Look, window: Window, limit: int) -> Looked:
        """See ``Notes``. Lists that changed since this process read them are one more round trip."""
        tags, counted, categories, notes = (list(dict.fromkeys(names)) for names in look)
        asked = list(dict.fromkeys([*tags, *counted]))
        states, places = self._lists.state_calls(asked, window.until)
        total = [self._total(window.until)] if counted else []
        recent = range_calls(map(self._keys.recent, categories), window, limit) if limit > 0 else []
        values, value_places = value_calls(self._client, self._keys.notes(notes))
        answers = iter(read_all(self._client, [*states, *total, *recent, *values]))
        known = self._lists.states(asked, places, list(islice(answers, len(states))))
        counts = TagCounts(next(answers), {text: known[text].notes for text in counted}) if counted else TagCounts(0, {})
        newest = list(islice(answers, len(recent))) or [()] * len(categories)
        glances = self._known(notes, in_places(value_places, list(answers), len(notes)))
        listed = self._lists.read({text: known[text] for text in tags}, window, limit)
        names = {name: [note.decode() for note in members] for name, members in zip(categories, newest, strict=True)}
        return Looked(listed, counts, names, glances)

    def tag_counts(self, texts: Sequence[str], until: int | None) -> TagCounts:
        """See ``Notes``."""
        distinct = list(dict.fromkeys(texts))
        calls, places = self._lists.state_calls(distinct, until)
        *answers, total = read_all(self._client, [*calls, self._total(until)])
        return TagCounts(total, {text: state.notes for text, state in self._lists.states(distinct, places, answers).items()})

    def _total(self, until: int | None) -> tuple[Any, ...]:
        return "ZCOUNT", self._keys.recent(ALL), "-inf", "+inf" if until is None else until

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


def range_calls(keys: Iterable[str], window: Window, limit: int, *more: str) -> Calls:
    """Commands that read of each sorted set the newest members within the window; ``more``: words of the command besides."""
    low = "-inf" if window.since is None else window.since
    high = "+inf" if window.until is None else window.until
    return [("ZREVRANGEBYSCORE", key, high, low, *more, "LIMIT", 0, limit) for key in keys]
