"""What was said in a note's media, as further texts of it, and the way back from a place in them to the moment it was said."""

from bisect import bisect_right
from collections.abc import Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from models.phrases import Part
from models.roles import NoteMedia, Utterance
from models.text import plain
from schemas.events import Evidence, EvidenceSource, Tag

SPEECH_LIMIT = 4_000


class Said(Struct, frozen=True):
    """An utterance whose first character is number ``start`` of all that was said in media of its source."""

    start: int
    utterance: Utterance

    def moment(self, position: int) -> int:
        """Milliseconds in the medium, as if it had been spoken at an even speed."""
        spoken, size = self.utterance, len(self.utterance.text)
        return spoken.start_ms + (spoken.end_ms - spoken.start_ms) * min(position - self.start, size) // max(size, 1)


class Speech(Struct, frozen=True):
    """``parts``: one text per medium, an utterance a line; their positions count characters. ``said``: by source, in that order."""

    parts: list[Part] = field(default_factory=list)
    said: dict[EvidenceSource, list[Said]] = field(default_factory=dict)

    def timed(self, tags: Sequence[Tag]) -> list[Tag]:
        """The tags with positions in speech as milliseconds."""
        return [replace(tag, evidence=[self._timed(one) for one in tag.evidence]) for tag in tags] if self.said else list(tags)

    def _timed(self, evidence: Evidence) -> Evidence:
        said = self.said.get(evidence.source)
        if not said:
            return evidence
        found = said[bisect_right(said, evidence.position, key=lambda one: one.start) - 1]
        return replace(evidence, position=found.moment(evidence.position))


def speech_of(media: NoteMedia | None) -> Speech:
    """The speech in a note's media, at most 4,000 characters of each medium."""
    if media is None or not media.speech:
        return Speech()
    spoken: dict[tuple[EvidenceSource, int], list[Utterance]] = {}
    for one in media.speech:
        spoken.setdefault((one.source, one.index), []).append(one.utterance)
    speech, ends = Speech(), dict.fromkeys(("audio", "video"), 0)
    for (source, _), utterances in spoken.items():
        base = ends[source]
        for utterance in utterances:
            speech.said.setdefault(source, []).append(Said(ends[source], utterance))
            ends[source] += len(utterance.text) + 1
        speech.parts.append(Part(source, base, plain("\n".join(one.text for one in utterances), SPEECH_LIMIT)))
    return speech
