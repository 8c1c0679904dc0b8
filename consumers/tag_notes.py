"""``tag-notes``: note events in, tagged notes out. Stateless, so a replay or a second process gives the same answers.

A note that had to be tagged without something that may be there later is published as it is, and a copy of its event is kept among the
dead letters, reason ``degraded``. When that is redriven the note is tagged again. The new answer has a higher ``revision``, so the index
takes it; where the note was updated or deleted meanwhile, its later event time wins and the upgrade is passed over as stale.
"""

import hashlib
import time
from collections.abc import Callable, Sequence

from models.roles import NoteMedia, NoteTags, Tagger
from schemas.events import NoteEvent, NoteTagged
from schemas.records import Received
from schemas.writes import KeepForUpgrade, Publish, Write
from streams.dead_letters import attempts_of

Open = Callable[[Sequence[NoteEvent]], Sequence[NoteMedia]]
"""Opens the media of each note; never raises for what is in a note."""


def now_ms() -> int:
    """Wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class TagNotes:
    """Decides what ``note-tagged`` carries for each note event, in order; a deletion travels the same way, without tags.

    Args:
        tagger: of the bundle.
        bundle: its version.
        topic: ``note-tagged`` within the namespace.
        open_media: what the tagger sees and hears; None where it does neither.
        clock: epoch ms.
    """

    def __init__(self, tagger: Tagger, bundle: str, topic: str, open_media: Open | None = None, clock: Callable[[], int] = now_ms) -> None:
        self._tagger = tagger
        self._bundle = bundle
        self._topic = topic
        self._open_media = open_media
        self._clock = clock

    def handle(self, batch: Sequence[Received[NoteEvent]]) -> list[Write]:
        """One ``Publish`` per event, then a ``KeepForUpgrade`` for each that may be tagged better later.

        Raises:
            PoisonBatch: when a note makes the tagger fail; the engine finds it by bisection.
        """
        received = self._clock()
        notes = [item.event for item in batch]
        answers = self._tagger.tag(notes, None if self._open_media is None else self._open_media(notes))
        tagged = self._clock()
        writes: list[Write] = []
        for item, answer in zip(batch, answers, strict=True):
            writes.append(self._publish(item, answer, received, tagged))
            if answer.may_recover:
                writes.append(KeepForUpgrade(item.message, "; ".join(answer.degraded)))
        return writes

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
            revision=attempts_of(item.message.headers()) if item.redriven else 0,
            degraded=answer.degraded,
            stages={"published": published if published > 0 else note.published_at, "received": received, "tagged": tagged},
        )
        return Publish(self._topic, note.note_id, event)


def fingerprint(note: NoteEvent) -> str:
    """Same for two notes whose title and body differ in case and white space only; empty for a note without text."""
    text = " ".join(f"{note.title} {note.body}".casefold().split())
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest() if text else ""
