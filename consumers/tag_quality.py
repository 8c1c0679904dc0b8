"""A note's tags against the handbook, in numbers: what the drift of tag quality is measured on."""

from pathlib import Path

import msgspec

from models.bundle_manifest import HANDBOOK
from models.handbook import Handbook, load_handbook
from models.words import Words, stem, words_of
from schemas.errors import BadSetting
from schemas.events import Category, NoteTagged, Tag
from schemas.settings import Settings
from streams.tag_drift import LENGTH, Reference, TagQuality

DIRECTORY = "tag-quality"


class HandbookQuality:
    """``streams.tag_drift.Quality`` by a handbook and the word lists of ``models/lexicon``.

    Low information: the tag stands for no dimension, or each of its words is one that carries nothing alone. Unknown: none of its words
    occurs in the handbook of the note's category, nor among the modifiers of all categories.
    """

    def __init__(self, handbook: Handbook) -> None:
        self._words = Words(handbook)
        self._dimensions = {name: frozenset(one.id for one in book.dimensions) for name, book in handbook.categories.items()}

    def __call__(self, note: NoteTagged) -> TagQuality:
        dimensions = self._dimensions[note.category] if note.category else frozenset()
        pieces = [self._pieces(tag) for tag in note.tags]
        return TagQuality(
            tags=len(note.tags),
            low_information=sum(self._says_little(tag, words) for tag, words in zip(note.tags, pieces, strict=True)),
            unknown=sum(not self._known(words, note.category) for words in pieces),
            covered=len({tag.dimension for tag in note.tags} & dimensions),
            dimensions=len(dimensions),
            confidences=[tag.confidence for tag in note.tags],
        )

    def _pieces(self, tag: Tag) -> list[str]:
        """Words of a tag: stems of the English ones, segments of a Chinese text and the text itself."""
        words = words_of(tag.text)
        if tag.text.isascii():
            return [stem(word) for word in words]
        return [tag.text, *self._words.jieba.cut(tag.text)]

    def _says_little(self, tag: Tag, words: list[str]) -> bool:
        return not tag.dimension or all(word in self._words.weak for word in words)

    def _known(self, words: list[str], category: Category | None) -> bool:
        known = self._words.vocabulary[category] if category else self._words.all_heads
        return any(word in known or word in self._words.modifiers for word in words)


def open_quality(settings: Settings) -> HandbookQuality:
    """With the handbook of the settings' bundle, else the one shipped."""
    return HandbookQuality(load_handbook(Path(settings.bundle, HANDBOOK) if settings.bundle else None))


def reference_file(settings: Settings, bundle: str) -> Path:
    """Where the reference of a bundle is: the setting's file, else one named after the bundle under the data directory."""
    return Path(settings.metrics_reference) if settings.metrics_reference else Path(settings.data, DIRECTORY, f"{bundle}.json")


def open_reference(settings: Settings, bundle: str | None) -> Reference | None:
    """The reference of a bundle; None where no file is, or the file named by the setting is another bundle's.

    Raises:
        BadSetting: the file cannot be used.
    """
    if bundle is None:
        return None
    path = reference_file(settings, bundle)
    if not settings.metrics_reference and not path.exists():
        return None
    try:
        reference = msgspec.json.decode(path.read_bytes(), type=Reference)
    except (OSError, msgspec.DecodeError) as error:
        raise BadSetting(f"TAGSTREAM_METRICS_REFERENCE: {path}: {error}; make it by `tagstream offline tag-quality`") from None
    if len(reference.vector) != LENGTH:
        raise BadSetting(f"TAGSTREAM_METRICS_REFERENCE: {path}: made by another release; make it anew by `tagstream offline tag-quality`")
    return reference if reference.bundle == bundle else None
