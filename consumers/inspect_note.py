"""Where a note is on its way, and why a reader does not get it. The command ``tagstream note`` is in ``consumers/inspect_cli.py``.

What the stores hold decides; a note that is not in the stores is looked for in the topics and the dead letters.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from models.roles import TagEncoder
from recall.filters import MEANING
from recall.known_note import DELETED, Inspected, WhyNot, in_stores
from recall.learned_channels import choose
from recall.merge import Candidate
from recall.note_index import now_ms
from recall.query import NO_BUNDLE, Query, Recalled, RecallStores, filter_all, prepare, recall
from schemas.codec import decoder
from schemas.errors import InvalidEvent
from schemas.events import NoteEvent, NoteTagged
from schemas.records import Message
from schemas.topics import NOTE_EVENTS, NOTE_TAGGED, Topic
from schemas.writes import DEGRADED
from streams.dead_letters import DeadLetter, read_dead_letter

K_LARGE = 4000

N = TypeVar("N", NoteEvent, NoteTagged)
Find = Callable[[Topic], Sequence[Message]]
"""The records of a topic (or of its dead letters) that may concern the note, oldest first."""


def inspect(note_id: str, stores: RecallStores, find: Find) -> Inspected:
    """Looks in the stores, then in the topics.

    Raises:
        Transient: when Redis, or Kafka where it is needed, does not answer.
    """
    return in_stores(note_id, stores) or from_topics(note_id, find)


def from_topics(note_id: str, find: Find) -> Inspected:
    """How far a note came that the stores do not know: by the latest that the topics hold of it."""
    events = _decoded(find(NOTE_EVENTS), NoteEvent, note_id)
    tagged = _decoded(find(NOTE_TAGGED), NoteTagged, note_id)
    letters = [letter for topic in (NOTE_EVENTS, NOTE_TAGGED) for letter in _letters(find(topic.dead_letter_topic), note_id)]
    letters = [one for one in letters if one.failure.reason != DEGRADED]  # such a note was tagged all the same
    letter = max(letters, key=lambda one: one.timestamp, default=None)
    newest = max((at for at, _ in [*events, *tagged]), default=-1)
    if letter is not None and letter.timestamp >= newest:
        failure = letter.failure
        detail = f"{failure.reason}: {' '.join(filter(None, (failure.field, failure.detail)))} (given up by {failure.stage})"
        stages = {"published": letter.timestamp} if letter.timestamp > 0 else {}
        return Inspected(note_id=note_id, state="dead_letter", stages=stages, why_not=[WhyNot("dead_letter", detail)])
    event = max(events, key=lambda one: (one[1].occurred_at, one[0]), default=None)
    answer = max(tagged, key=lambda one: (one[1].occurred_at, one[1].revision, one[0]), default=None)
    if answer is not None and (event is None or answer[1].occurred_at >= event[1].occurred_at):
        return _tagged(answer[1])
    if event is not None:
        return _published(event[1], event[0])
    return Inspected(note_id=note_id, state="unknown", why_not=[WhyNot("unknown", "neither the stores nor the topics know it")])


def _tagged(event: NoteTagged) -> Inspected:
    waiting = WhyNot("not_indexed_yet", "it waits in note-tagged for the job index-notes")
    return Inspected(
        note_id=event.note_id,
        state="deleted" if event.deleted else "tagged",
        category=event.category,
        tags=event.tags,
        bundle=event.bundle,
        tagger=event.tagger,
        degraded=event.degraded,
        stages=event.stages,
        why_not=[DELETED if event.deleted else waiting],
    )


def _published(event: NoteEvent, at: int) -> Inspected:
    deleted = event.type == "note.deleted"
    waiting = WhyNot("not_tagged_yet", "it waits in note-events for the job tag-notes")
    return Inspected(
        note_id=event.note_id,
        state="deleted" if deleted else "published",
        category=event.category,
        stages={"published": at if at > 0 else event.published_at},
        why_not=[DELETED if deleted else waiting],
    )


def _decoded(messages: Sequence[Message], kind: type[N], note_id: str) -> list[tuple[int, N]]:
    """The note's valid events with Kafka's time; what does not decode is in the dead letters or will be."""
    decode = decoder(kind)
    found: list[tuple[int, N]] = []
    for message in messages:
        try:
            event = decode(message.value(), message.headers())
        except InvalidEvent:
            continue
        if event.note_id == note_id:
            found.append((message.timestamp()[1], event))
    return found


def _letters(messages: Sequence[Message], note_id: str) -> list[DeadLetter]:
    """The note's dead letters: by key, or by the id in a value that may be anything."""
    return [letter for letter in map(read_dead_letter, messages) if letter.key == note_id.encode() or _names(letter.value, note_id)]


def _names(value: bytes | None, note_id: str) -> bool:
    try:
        document = msgspec.json.decode(value or b"null")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(document, dict) and document.get("note_id") == note_id


def why_not(note_id: str, query: Query, stores: RecallStores, encoder: TagEncoder) -> list[WhyNot]:
    """What keeps a note that the stores know from a reader: a filter, or its rank. Empty when the query returns it."""
    if stores.bundle is None:
        return [WhyNot("no_bundle", NO_BUNDLE)]
    now = now_ms() if query.as_of is None else query.as_of
    _, removed = filter_all([Candidate(note_id, 0)], prepare(query, now, stores, encoder))
    asked = Recalled(query.user_id, now, [], [], []) if removed else recall(query, stores, encoder)
    if any(one.note_id == note_id for one in asked.results):
        return []
    for one in [*removed, *asked.removed]:
        if one.note_id == note_id:
            return [WhyNot(f"filtered_by_{one.reason}", ": ".join(filter(None, (MEANING[one.reason], one.detail))))]
    lines = [WhyNot("degraded", line) for line in asked.degraded]
    everything = recall(replace(query, k=max(K_LARGE, query.k)), stores, encoder)
    ranks = {one.note_id: (rank, one.score) for rank, one in enumerate(everything.results, start=1)}
    if note_id not in ranks:
        names = [channel.name for channel in choose(query.channels, stores.spaces, stores.weights)]
        return [*lines, WhyNot("not_proposed", f"no channel of {', '.join(names)} proposes it")]
    rank, score = ranks[note_id]
    last = f"; number {len(asked.results)} has {asked.results[-1].score:.3f}" if asked.results else ""
    return [*lines, WhyNot("below_top_k", f"rank {rank} of {len(ranks)} with score {score:.3f}, {query.k} asked for{last}")]
