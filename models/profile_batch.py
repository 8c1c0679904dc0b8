"""A batch of interactions as the profile job needs it: by reader, each action as a packed fact. No I/O, no clock.

Records are gathered chunk by chunk while they are polled and let go at once: 200 bytes of an action instead of a thousand of its record, in
the processor's cache instead of out of it. The original bytes and headers are kept only of actions on notes that are not known, since only
such an action may have to wait and end as a dead letter.
"""

import struct
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import xxhash

from models.profile import CODES, GIVE_UP_REASONS, Rules
from schemas.events import Interaction
from schemas.records import Headers, Received
from schemas.writes import PutProfile

HASH_BYTES = 8

Actions = list[Any]
"""One reader's actions from one place, in order, three entries each: offset, head of the packed fact, note."""

# A packed fact is a msgpack array: header, code and the mark of a 64-bit integer; occurred_at; the mark of 8 bytes; hash; then the note.
_pack_head = struct.Struct(">3sQ2s8s").pack
_FACT_HEADS = tuple(bytes((0x94, code, 0xCF)) for code in CODES.values())
_HASH_HEAD = b"\xc4\x08"
_encode = msgspec.msgpack.Encoder().encode


class Original(NamedTuple):
    """What a dead letter of an action will need of its record."""

    raw: bytes
    headers: Headers


class ProfileBatch:
    """Interactions by place (``source/partition``) and reader; actions that leave no trace are only counted.

    Args:
        rules: which actions leave a trace.
        known: notes that surely have a record; of actions on others the original bytes are kept.
    """

    def __init__(self, rules: Rules, known: Container[str] = ()) -> None:
        self._rules = rules
        self._known = known
        self._notes: dict[str, str] = {}
        self._unknown: set[str] = set()
        self._spans: dict[str, list[int]] = {}
        self.places: dict[str, dict[str, Actions]] = {}
        self.originals: dict[tuple[str, int], Original] = {}
        """By place and offset."""
        self.redriven: set[tuple[str, int]] = set()
        """Place and offset of actions that were given up before and sent again."""
        self.ordered = True
        """Whether offsets rise within each place, as they do unless something was delivered twice into one batch."""

    def __len__(self) -> int:
        return sum(length for _, _, length in self._spans.values())

    @property
    def notes(self) -> Iterable[str]:
        """Every note that the batch leaves a trace of, once."""
        return self._notes

    def add(self, chunk: Sequence[Received[Interaction]]) -> None:
        """Takes events in, in the order of their offsets within each place."""
        code_of, hash_of = self._rules.codes.get, xxhash.xxh3_64_digest
        notes, unknown = self._notes, self._unknown
        note_of = notes.get
        source, partition, place, last = "", -1, "", -1
        span: list[int] = []
        readers: dict[str, Actions] = {}
        actions_of = readers.get
        for received in chunk:
            offset = received.offset
            if received.partition != partition or received.source != source:
                source, partition = received.source, received.partition
                place = f"{source}/{partition}"
                span = self._spans.setdefault(place, [offset, -1, 0])
                readers, last = self.places.setdefault(place, {}), span[1]
                actions_of = readers.get
            if offset <= last:
                self.ordered = False
            span[1] = last = offset
            span[2] += 1
            event = received.event
            code = code_of(event.action)
            if code is None:
                continue
            user_id, note_id = event.user_id, event.note_id
            note = note_of(note_id)
            if note is None:
                note = notes[note_id] = note_id
                if note_id not in self._known:
                    unknown.add(note_id)
            if unknown and note in unknown:
                self.originals[place, offset] = Original(received.message.value() or b"", received.message.headers() or [])
            if received.redriven and received.redriven in GIVE_UP_REASONS:
                self.redriven.add((place, offset))
            head = _pack_head(_FACT_HEADS[code], event.occurred_at, _HASH_HEAD, hash_of(event.event_id.encode()))
            actions = actions_of(user_id)
            if actions is None:
                readers[user_id] = [offset, head, note]
            else:
                actions += (offset, head, note)

    def drop(self, partitions: set[int]) -> None:
        """Leaves out what came from partitions that are not ours any more."""
        for place in [place for place in self._spans if int(place.rpartition("/")[2]) in partitions]:
            del self._spans[place], self.places[place]
            self.originals = {at: original for at, original in self.originals.items() if at[0] != place}
            self.redriven = {at for at in self.redriven if at[0] != place}

    def again(self, conflicts: Sequence[PutProfile]) -> "ProfileBatch":
        """The part of the readers whose writes were refused."""
        user_ids = {put.user_id for put in conflicts}
        part = self._empty()
        part.ordered, part.originals, part.redriven = self.ordered, self.originals, self.redriven
        for place, readers in self.places.items():
            mine = {user_id: actions for user_id, actions in readers.items() if user_id in user_ids}
            if mine:
                part.places[place] = mine
                part._spans[place] = [*self._spans[place][:2], sum(map(len, mine.values())) // 3]
                part._notes |= {note: note for actions in mine.values() for note in actions[2::3]}
        return part

    def _empty(self) -> "ProfileBatch":
        return ProfileBatch(self._rules, self._known)

    def holds(self, partition: int, offset: int) -> bool:
        """Whether a record is among the batch's: offsets between the first and the last of their place are."""
        spans = [span for place, span in self._spans.items() if int(place.rpartition("/")[2]) == partition]
        return any(first <= offset <= last for first, last, _ in spans)


def pack_notes(note_ids: Iterable[str], tags: Mapping[str, bytes]) -> dict[str, bytes]:
    """The notes as packed facts end: id and packed tags, the id alone for a note without.

    Args:
        tags: ``models.profile.pack_tags`` by note.
    """
    return {note_id: _encode([note_id, tags[note_id]] if note_id in tags else [note_id]) for note_id in note_ids}


def pack_facts(actions: Actions, notes: Mapping[str, bytes]) -> list[bytes]:
    """The pieces of the packed facts, two an action, to be joined.

    Args:
        notes: of ``pack_notes``.
    """
    pieces: list[bytes] = actions[1:]
    del pieces[2::3]
    pieces[1::2] = [notes[note_id] for note_id in actions[2::3]]
    return pieces
