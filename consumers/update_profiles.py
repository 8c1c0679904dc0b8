"""Interactions become reader profiles: groups a batch by reader, applies it to their records, returns the records to store."""

from collections.abc import Sequence

from msgspec import Struct

from models.profile import pack_tags, rules_of
from models.profile_update import GivenUp, apply_events, waiting_in
from recall.stores import Notes, Profiles
from schemas.codec import VERSION_HEADER, VERSIONS
from schemas.events import Interaction
from schemas.records import Headers, Received
from schemas.settings import Settings
from schemas.writes import GiveUp, PutProfile, Skip, Write

EXPLAINED = {
    "note_never_tagged": "the note had no tags within profile_pending_hours of the reader's stream time",
    "too_many_pending": "more than profile_max_pending actions of the reader wait for tags",
}


class WaitingMessage(Struct, frozen=True):
    """The record of an action that waited in a profile: its original bytes and coordinates, for its dead letter."""

    user_id: str
    given_up: GivenUp

    def topic(self) -> str:
        return self.given_up.action.source.rpartition("@")[0]

    def partition(self) -> int:
        return self.given_up.action.partition

    def offset(self) -> int:
        return self.given_up.action.offset

    def key(self) -> bytes:
        return self.user_id.encode()

    def value(self) -> bytes:
        return self.given_up.action.raw

    def headers(self) -> Headers:
        return [(VERSION_HEADER, str(VERSIONS[Interaction]).encode())]

    def timestamp(self) -> tuple[int, int]:
        return (1, self.given_up.action.occurred_at)


class UpdateProfiles:
    """The job ``update-profiles``. One event changes its reader's record at most once, whatever is delivered again."""

    def __init__(self, profiles: Profiles, notes: Notes, settings: Settings) -> None:
        self._profiles = profiles
        self._notes = notes
        self._rules = rules_of(settings)

    def handle(self, batch: Sequence[Received[Interaction]]) -> list[Write]:
        """Returns ``PutProfile`` for each reader whose record changed, ``GiveUp`` for actions that will never count, ``Skip`` for what had
        been applied before.

        Raises:
            Transient: when Redis does not answer.
        """
        codes = self._rules.codes
        by_reader: dict[str, list[Received[Interaction]]] = {}
        note_ids = set()
        for received in batch:
            event = received.event
            if event.action not in codes:
                continue
            note_ids.add(event.note_id)
            if (events := by_reader.get(event.user_id)) is None:
                by_reader[event.user_id] = [received]
            else:
                events.append(received)
        held = self._profiles.read(list(by_reader))
        for _, record in held.values():
            if record.waiting:
                note_ids |= waiting_in(record)
        known = self._notes.get(list(note_ids))
        tags = {note_id: pack_tags(note.tags) for note_id, note in known.items()}
        writes: list[Write] = []
        skipped = 0
        for user_id, events in by_reader.items():
            version, record = held[user_id]
            outcome = apply_events(record, events, tags, self._rules)
            skipped += outcome.skipped
            writes += [GiveUp(WaitingMessage(user_id, lost), lost.reason, EXPLAINED[lost.reason]) for lost in outcome.given_up]
            if outcome.applied or outcome.resolved:
                writes.append(PutProfile(user_id, version, record, events))
        if skipped:
            writes.append(Skip("applied", skipped))
        return writes
