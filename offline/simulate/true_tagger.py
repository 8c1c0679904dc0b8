"""A tagger that knows the truth: what the system would do with perfect tags."""

from collections.abc import Sequence

from models.roles import NoteMedia, NoteTags
from offline.simulate.notes import NOTE_PREFIX, Community
from offline.simulate.truth import Truth
from schemas.events import Evidence, NoteEvent, Tag


class TrueTagger:
    """``models.roles.Tagger`` for the notes of one community: their true tags, most prominent first, each with its foremost source."""

    name = "truth"
    sees = hears = False

    def __init__(self, community: Community) -> None:
        self._community = community
        self.version = f"truth-{community.seed}"

    def tag(self, notes: Sequence[NoteEvent], media: Sequence[NoteMedia] | None = None) -> list[NoteTags]:
        """See ``models.roles.Tagger``; of the events only the ids are looked at."""
        return [self._answer(note) for note in notes]

    def _answer(self, note: NoteEvent) -> NoteTags:
        truth = self._community.note(int(note.note_id.removeprefix(NOTE_PREFIX))).truth
        tags = [] if note.type == "note.deleted" else true_tags(truth)
        return NoteTags(category=truth.category, tags=tags, language=truth.language, degraded=[])


def true_tags(truth: Truth) -> list[Tag]:
    """The attributes of a note as tags in its language, each text once. Positions are not known and stay 0."""
    sources = {attribute.text(truth.language): attribute for attribute in reversed(truth.attributes)}
    return [
        Tag(text=text, dimension=sources[text].dimension, rank=rank, confidence=1.0, evidence=[Evidence(source=sources[text].sources[0])])
        for rank, text in enumerate(truth.tags(), start=1)
    ]
