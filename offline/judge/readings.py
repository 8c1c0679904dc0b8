"""What each tag says of a simulated note whose truth is known: something true, something false, or nothing that anybody would look for.

Words are compared as stems, whatever their case, width and plural; of Chinese every character is one. A tag is read by these rules, in this
order:

1. Its words are those of a true attribute, in either language: it is true.
2. It says something untrue: the whole of a denied or contradicted value, every word by which that differs from what is true, or a part of
   it that belongs to nothing true. It is false.
3. One of its words is supported by nothing. Supported are the words of the true attributes, of what the sample holds (title, body, product
   cards, speech, the label in its pictures) and of the names of the category and its dimensions; a Chinese character is supported beside a
   neighbour with which it stands there. It is false. So are paraphrases: the judge knows no others than the truth's words.
4. It holds a true attribute with as many words again at most: it is true.
5. Anything else is low-information: the category's noun, a piece of an attribute, small talk of the body. So is a tag that says again,
   in whichever language, what one before it said.

Attributes that only media outside the sample tell (a voice that was not heard) are true, but nobody can ask for them: they count neither
for nor against an answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from models.guards.places import stems_of
from models.handbook import CategoryHandbook
from models.text import has_han
from offline.simulate.notes import PROMINENCE
from offline.simulate.truth import Attribute, Truth
from offline.tag_data.samples import Sample, Told
from schemas.events import EvidenceSource

Kind = Literal["true", "false", "low"]
TEXT_LIMIT = 20_000
FUNCTION_WORDS = frozenset(("a", "an", "the", "of", "for", "with", "and", "in", "on", "to", "my", "的", "和", "与"))
Stems = tuple[str, ...]


class Reading(Struct, frozen=True):
    """One tag of an answer. ``attribute``: what it says that is true, None where it is not or says it again. ``counts``: whether the sample
    tells that. ``fits``: whether its dimension is the attribute's; of tags without one, whether the category has that dimension."""

    tag: Told
    kind: Kind
    attribute: Attribute | None
    counts: bool
    fits: bool


class Asked(Struct, frozen=True):
    """An attribute that the sample tells. ``tier``: 0 for those told most prominently, by the foremost place of the sample that tells it;
    attributes of a tier are equally important."""

    attribute: Attribute
    tier: int


def sources_of(sample: Sample) -> set[EvidenceSource]:
    """Which sources the sample holds. Whatever voice was heard, the truth calls it ``audio``."""
    note = sample.note
    held: set[EvidenceSource] = {picture.source for picture in sample.pictures}
    written: Mapping[EvidenceSource, object] = {"title": note.title, "body": note.body, "product": note.products, "audio": sample.speech}
    return held | {source for source, content in written.items() if content}


def asked_of(truth: Truth, sample: Sample) -> list[Asked]:
    """The attributes that the sample tells, most important first."""
    held = sources_of(sample)
    foremost = {id(one): next(source for source in PROMINENCE if source in held and source in one.sources) for one in truth.told_by(held)}
    tiers = {source: tier for tier, source in enumerate(source for source in PROMINENCE if source in foremost.values())}
    found = [Asked(one, tiers[foremost[id(one)]]) for one in truth.told_by(held)]
    return sorted(found, key=lambda one: one.tier)


class Reader:
    """Reads answers about one sample.

    Args:
        truth: of the sample's note.
        sample: what is there to be told.
        book: the handbook of the note's category.
    """

    def __init__(self, truth: Truth, sample: Sample, book: CategoryHandbook) -> None:
        self.asked = asked_of(truth, sample)
        told = [one.attribute for one in self.asked]
        self._told = told
        self._attributes = told + [one for one in truth.attributes if one not in told]
        self._words = [(one, _of(one.en), _of(one.zh)) for one in self._attributes]
        self._dimensions = {dimension.id for dimension in book.dimensions}
        self._true = [stems for _, *both in self._words for stems in both]
        known = {stem for stems in self._true for stem in stems}
        self._untrue = [(stems, frozenset(stems) - known - FUNCTION_WORDS) for one in truth.untrue for stems in (_of(one.en), _of(one.zh))]
        texts = [*self._true, *_names(book), *_texts(truth, sample)]
        self._stems = {stem for stems in texts for stem in stems} | FUNCTION_WORDS
        self._pairs = {pair for stems in texts for pair in pairwise(stems)}

    def read(self, tags: Sequence[Told]) -> list[Reading]:
        """One reading for each tag, in order."""
        said: list[Attribute] = []
        readings = []
        for tag in tags:
            kind, options = self._read(_of(tag.text))
            new = [one for one in options if one not in said]
            attribute = next((one for one in new if one.dimension == tag.dimension), new[0] if new else None)
            if attribute is None:
                readings.append(Reading(tag, "low" if options else kind, None, False, tag.dimension in self._dimensions))
                continue
            said.append(attribute)
            readings.append(Reading(tag, "true", attribute, attribute in self._told, tag.dimension == attribute.dimension))
        return readings

    def missing(self, readings: Iterable[Reading]) -> list[Attribute]:
        """What the sample tells and no tag says, most important first."""
        said = [one.attribute for one in readings]
        return [one for one in self._told if one not in said]

    def _read(self, stems: Stems) -> tuple[Kind, list[Attribute]]:
        """The kind, and the true attributes that a tag may be saying."""
        same = [one for one, *both in self._words if stems in both]
        if same:
            return "true", same
        if self._denies(stems) or not self._supported(stems):
            return "false", []
        held = [one for one, *both in self._words if any(len(stems) <= 2 * len(words) and _within(words, stems) for words in both)]
        return ("true", held) if held else ("low", [])

    def _denies(self, stems: Stems) -> bool:
        for untrue, own in self._untrue:
            part = _within(stems, untrue) and not any(_within(stems, true) for true in self._true)
            if part or _within(untrue, stems) or (own and own <= set(stems)):
                return True
        return False

    def _supported(self, stems: Stems) -> bool:
        if not stems:
            return False
        for at, stem in enumerate(stems):
            beside = [stems[at - 1 : at + 1]] if at else []
            beside += [stems[at : at + 2]] if at + 1 < len(stems) else []
            if has_han(stem) and beside and stem not in FUNCTION_WORDS:
                if not any(pair in self._pairs for pair in beside):
                    return False
            elif stem not in self._stems:
                return False
        return True


def _of(text: str) -> Stems:
    return tuple(stems_of(text))


def _names(book: CategoryHandbook) -> Iterator[Stems]:
    yield _of(book.category)
    for name in (book.name, *(dimension.name for dimension in book.dimensions)):
        yield from (_of(name.en), _of(name.zh))


def _texts(truth: Truth, sample: Sample) -> Iterator[Stems]:
    note = sample.note
    texts = [note.title, note.body, *(one.utterance.text for one in sample.speech)]
    texts += [f"{card.name} {card.brand} {card.description}" for card in note.products]
    texts += [scene.label for scene in (*truth.images, *truth.shots)] if sample.pictures else []
    return (tuple(stems_of(text, TEXT_LIMIT)) for text in texts)


def _within(part: Stems, whole: Stems) -> bool:
    """Whether one run of stems stands in another."""
    width = len(part)
    return bool(part) and any(whole[at : at + width] == part for at in range(len(whole) - width + 1))
