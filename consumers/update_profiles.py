"""Interactions become reader profiles: groups a batch by reader, applies it to their records, returns the records to store."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import Struct
from msgspec.structs import replace

from consumers.training_log import LoggedBatch, TrainingLog
from models.profile import rules_of
from models.profile_batch import Actions, ProfileBatch, pack_notes
from models.profile_update import GivenUp, Known, apply_actions, pack_append, waiting_in
from recall.stores import NoteTags, Profiles
from schemas.events import Interaction
from schemas.records import Headers, Received
from schemas.settings import Settings
from schemas.stored import ProfileRecord
from schemas.writes import GiveUp, PutProfile, Skip, Write

EXPLAINED = {
    "note_never_tagged": "the note had no tags within profile_pending_hours of the reader's stream time",
    "too_many_pending": "more than profile_max_pending actions of the reader wait for tags",
}
Places = Mapping[str, Mapping[str, Actions]]


class WaitingMessage(Struct, frozen=True):
    """The record of an action that waited in a profile: its original bytes, headers and coordinates, for its dead letter."""

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
        return self.given_up.action.headers

    def timestamp(self) -> tuple[int, int]:
        return (1, self.given_up.action.occurred_at)


class UpdateProfiles:
    """The job ``update-profiles``. One event changes its reader's record at most once, whatever is delivered again."""

    def __init__(self, profiles: Profiles, tags: NoteTags, settings: Settings, log: TrainingLog | None = None) -> None:
        """``log`` makes training examples of a sample of the events."""
        self._profiles = profiles
        self._tags = tags
        self._rules = rules_of(settings)
        self._log = log

    def gather(self) -> ProfileBatch:
        """What the next batch is gathered in while it is polled."""
        return ProfileBatch(self._rules, self._tags.known) if self._log is None else self._log.gather(self._tags.known)

    def handle(self, batch: ProfileBatch | Sequence[Received[Interaction]]) -> list[Write]:
        """Returns ``PutProfile`` for each reader whose record changed, ``GiveUp`` for actions that will never count, ``Skip`` for what had
        been applied before; with a log also ``Publish`` of training examples.

        Raises:
            Transient: when Redis does not answer.
        """
        if not isinstance(batch, ProfileBatch):
            events, batch = batch, self.gather()
            batch.add(events)
        with _without_collections():
            tags = self._tags.packed(list(batch.notes))
            known = Known(tags, pack_notes(batch.notes, tags), batch.originals, batch.redriven)
            writes: list[Write] = []
            left = self._append(batch.places, known, writes) if batch.ordered else batch.places
            if left:
                self._rewrite(left, known, writes)
            if self._log is not None and isinstance(batch, LoggedBatch):
                writes += self._log.examples(batch, known, writes)
            return writes

    def _append(self, places: Places, known: Known, writes: list[Write]) -> Places:
        """Decides for the readers whose record is only appended to; returns the others."""
        bare = known.notes.keys() - known.tags.keys()
        left: dict[str, dict[str, Actions]] = {}
        skipped = 0
        for place, readers in places.items():
            held = self._profiles.heads(list(readers))
            others: dict[str, Actions] = {}
            for user_id, actions in readers.items():
                if known.redriven and any((place, offset) in known.redriven for offset in actions[::3]):
                    others[user_id] = actions
                    continue
                version, head = held[user_id]
                packed = pack_append(head, place, actions, known.notes, bare)
                if packed:
                    writes.append(PutProfile(user_id, version, ProfileRecord(head), appended=packed))
                elif packed is None:
                    others[user_id] = actions
                else:
                    skipped += len(actions) // 3
            if others:
                left[place] = others
        if skipped:
            writes.append(Skip("applied", skipped))
        return left

    def _rewrite(self, places: Places, known: Known, writes: list[Write]) -> None:
        """Decides for readers whose record is read and written whole."""
        held = self._profiles.read(list(set().union(*places.values())))
        waiting: set[str] = set().union(*(waiting_in(record) for _, record in held.values()))
        known = replace(known, tags={**known.tags, **self._tags.packed(list(waiting - known.tags.keys()))})
        decided: dict[str, PutProfile] = {}
        skipped = 0
        for place, readers in places.items():
            for user_id, actions in readers.items():
                version, record = held[user_id]
                outcome = apply_actions(record, place, actions, known, self._rules)
                skipped += outcome.skipped
                writes += [GiveUp(WaitingMessage(user_id, lost), lost.reason, EXPLAINED[lost.reason]) for lost in outcome.given_up]
                if outcome.applied or outcome.resolved:
                    decided[user_id] = PutProfile(user_id, version, record)
        writes += decided.values()
        if skipped:
            writes.append(Skip("applied", skipped))


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
