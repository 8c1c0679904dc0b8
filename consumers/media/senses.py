"""What a tagger makes use of in a note's media."""

from msgspec import Struct

from schemas.events import NoteEvent


class Senses(Struct, frozen=True):
    """What a tagger makes use of: images and frames, speech. Media that serve neither are not fetched."""

    sees: bool = True
    hears: bool = True

    def wants(self, note: NoteEvent) -> bool:
        """Whether a note has anything for them."""
        found = (self.sees and note.images) or (self.hears and note.audios) or note.videos
        return bool(found) and (self.sees or self.hears) and note.type != "note.deleted"
