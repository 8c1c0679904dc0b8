"""Interactions become reader profiles: groups a batch by reader, applies it to their records, returns the records to store."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import Struct

from models.profile import rules_of
from models.profile_update import GivenUp, Grouped, append_actions, apply_actions, group_actions, set_tags, waiting_in
from recall.stores import Held, NoteTags, Profiles
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

    def __init__(self, profiles: Profiles, tags: NoteTags, settings: Settings) -> None:
        self._profiles = profiles
        self._tags = tags
        self._rules = rules_of(settings)

    def handle(self, batch: Sequence[Received[Interaction]]) -> list[Write]:
        """Returns ``PutProfile`` for each reader whose record changed, ``GiveUp`` for actions that will never count, ``Skip`` for what had
        been applied before.

        Raises:
            Transient: when Redis does not answer.
        """
        with _without_collections():
            grouped = group_actions(batch, self._rules)
            held = self._profiles.read(list(set().union(*grouped.places.values())))
            waiting = [waiting_in(record) for _, record in held.values() if record.waiting]
            tags = self._tags.packed(list(grouped.notes.keys() | set().union(*waiting)))
            return self._decide(grouped, held, tags)

    def _decide(self, grouped: Grouped, held: Mapping[str, Held], tags: Mapping[str, bytes]) -> list[Write]:
        rules = self._rules
        simple = set_tags(grouped, tags) and grouped.ordered
        writes: list[Write] = []
        decided: dict[str, PutProfile] = {}
        skipped = 0
        for place, readers in grouped.places.items():
            for user_id, actions in readers.items():
                version, record = held[user_id]
                if not simple or not append_actions(record, place, actions, rules):
                    outcome = apply_actions(record, place, actions, tags, rules)
                    skipped += outcome.skipped
                    writes += [GiveUp(WaitingMessage(user_id, lost), lost.reason, EXPLAINED[lost.reason]) for lost in outcome.given_up]
                    if not outcome.applied and not outcome.resolved:
                        continue
                if user_id in decided:
                    decided[user_id].events.extend(actions[1])
                else:
                    decided[user_id] = PutProfile(user_id, version, record, actions[1])
        writes += decided.values()
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
