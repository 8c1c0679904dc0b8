"""``tag-notes``: note events in, tagged notes out. Stateless, so a replay or a second process gives the same answers."""

import hashlib
import time
from collections.abc import Callable, Sequence

from models.roles import NoteTags, Tagger
from schemas.events import NoteEvent, NoteTagged
from schemas.records import Received
from schemas.writes import Publish, Write


def now_ms() -> int:
    """Wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class TagNotes:
    """Decides what ``note-tagged`` carries for each note event, in order; a deletion travels the same way, without tags."""

    def __init__(self, tagger: Tagger, bundle: str, topic: str, clock: Callable[[], int] = now_ms) -> None:
        self._tagger = tagger
        self._bundle = bundle
        self._topic = topic
        self._clock = clock

    def handle(self, batch: Sequence[Received[NoteEvent]]) -> list[Write]:
        """One ``Publish`` per event.

        Raises:
            PoisonBatch: when a note makes the tagger fail; the engine finds it by bisection.
        """
        received = self._clock()
        answers = self._tagger.tag([item.event for item in batch])
        tagged = self._clock()
        return [self._publish(item, answer, received, tagged) for item, answer in zip(batch, answers, strict=True)]

    def _publish(self, item: Received[NoteEvent], answer: NoteTags, received: int, tagged: int) -> Publish:
        note = item.event
        published = item.message.timestamp()[1]
        event = NoteTagged(
            note_id=note.note_id,
            author_id=note.author_id,
            occurred_at=note.occurred_at,
            published_at=note.published_at,
            bundle=self._bundle,
            deleted=note.type == "note.deleted",
            category=answer.category,
            tags=answer.tags,
            language=answer.language or note.language,
            fingerprint=fingerprint(note),
            tagger=self._tagger.name,
            degraded=answer.degraded,
            stages={"published": published if published > 0 else note.published_at, "received": received, "tagged": tagged},
        )
        return Publish(self._topic, note.note_id, event)


def fingerprint(note: NoteEvent) -> str:
    """Same for two notes whose title and body differ in case and white space only; empty for a note without text."""
    text = " ".join(f"{note.title} {note.body}".casefold().split())
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest() if text else ""
