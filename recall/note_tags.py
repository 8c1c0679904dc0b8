"""The tags of notes as the profile job wants them: packed once for as long as the note's record stays the same."""

from collections.abc import Container, Sequence

import msgspec

from models.profile import pack_tags
from recall.redis_client import Client, read_values
from recall.stores import Notes
from schemas.keys import Keys
from schemas.stored import TOKEN_BYTES, NoteRecord

CACHED_NOTES = 100_000
_decode = msgspec.msgpack.Decoder(NoteRecord).decode


class RedisNoteTags:
    """``NoteTags`` on the records that ``RedisNotes`` writes. Each call reads them; only those whose token changed are decoded."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._packed: dict[str, tuple[bytes, bytes]] = {}

    @property
    def known(self) -> Container[str]:
        return self._packed

    def packed(self, note_ids: Sequence[str]) -> dict[str, bytes]:
        values = read_values(self._client, self._keys.notes(note_ids))
        held, found = self._packed, {}
        for note_id, value in zip(note_ids, values, strict=True):
            if value is None:
                continue
            token = value[:TOKEN_BYTES]
            known = held.get(note_id)
            if known is None or known[0] != token:
                if len(held) >= CACHED_NOTES:
                    held.clear()
                known = held[note_id] = (token, pack_tags(_decode(value[TOKEN_BYTES:]).tags))
            found[note_id] = known[1]
        return found


class StoredNoteTags:
    """``NoteTags`` over any ``Notes``."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._found: set[str] = set()

    @property
    def known(self) -> Container[str]:
        return self._found

    def packed(self, note_ids: Sequence[str]) -> dict[str, bytes]:
        found = {note_id: pack_tags(note.tags) for note_id, note in self._notes.get(note_ids).items()}
        self._found.update(found)
        return found
