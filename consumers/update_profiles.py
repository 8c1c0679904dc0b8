"""Interactions become reader profiles: groups a batch by reader, applies it to their records, returns the records to store."""

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import Struct

from models.profile import pack_tags, rules_of
from models.profile_update import GivenUp, Step, apply_steps, steps_by_reader, waiting_in
from recall.stores import Held, Notes, Profiles
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
        with _without_collections():
            readers, of_events = steps_by_reader(batch, self._rules)
            held = self._profiles.read(list(readers))
            tags = self._tags(of_events, held)
            return self._decide(readers, held, tags)

    def _tags(self, of_events: Collection[str], held: Mapping[str, Held]) -> dict[str, bytes]:
        """Packed tags of the notes that are known, for the events and for the actions that wait."""
        wanted = set(of_events).union(*(waiting_in(record) for _, record in held.values() if record.waiting))
        return {note_id: pack_tags(note.tags) for note_id, note in self._notes.get(list(wanted)).items()}

    def _decide(self, readers: Mapping[str, Sequence[Step]], held: Mapping[str, Held], tags: Mapping[str, bytes]) -> list[Write]:
        rules = self._rules
        writes: list[Write] = []
        skipped = 0
        for user_id, steps in readers.items():
            version, record = held[user_id]
            outcome = apply_steps(record, steps, tags, rules)
            skipped += outcome.skipped
            if outcome.given_up:
                writes += [GiveUp(WaitingMessage(user_id, lost), lost.reason, EXPLAINED[lost.reason]) for lost in outcome.given_up]
            if outcome.applied or outcome.resolved:
                writes.append(PutProfile(user_id, version, record, [step[-1] for step in steps]))
        if skipped:
            writes.append(Skip("applied", skipped))
        return writes


@contextmanager
def _without_collections() -> Iterator[None]:
    """No garbage collections for a moment: a batch makes some hundred thousand objects, none of them in a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
