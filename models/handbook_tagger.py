"""The tagger for a machine without a vision-language model: the handbook guides which phrases of a note become tags.

The three steps of TagLLM's CoT Extraction (section 3.2) with the means at hand: candidate phrases scored against the interest dimensions
of the note's category, low-information candidates merged into finer ones, the rest ranked by importance. It reads title, body and product
cards and copies phrases; where the handbook lists concepts it also gives those that the text supports (``models/concepts.py``), and names
of works (``models/works.py``), which notes share. What was said in the note's media is read like its body (``models/speech_parts.py``).
It sees no images. It is also the fallback while the model is down.

The same note gives the same tags in any batch: the encoder's rows are independent, all arithmetic is per note, scores are rounded before
sorting and ties go by text.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.dimensions import DimensionVectors, HandbookVectors, products
from models.handbook import Handbook
from models.phrases import ATTRIBUTES_LIMIT, MAX_CHARACTERS, Part, Phrase, find_phrases, parts_of
from models.roles import NoteMedia, NoteTags, TagEncoder
from models.shared_tags import Seen, SharedTags, with_shared
from models.speech_parts import Speech, speech_of
from models.text import language_of, plain
from models.words import TERM, WORD, Words, words_of
from schemas.events import CATEGORIES, Category, Evidence, NoteEvent, Tag

ALGORITHM = 4
SHORTLIST = 24


class Weights(Struct, frozen=True):
    """What each sign of importance adds to a phrase's score; chosen on the development half of the sample notes."""

    example: float = 0.35
    term: float = 0.07
    head: float = 0.25
    vocabulary: float = 0.2
    title: float = 0.45
    product: float = 0.15
    early: float = 0.12
    repeated: float = 0.14
    weak: float = 0.6
    loose_end: float = 0.55
    odd: float = 0.25
    single: float = 0.4
    compound: float = 0.3
    similarity: float = 1.0
    central: float = 0.35
    finer: float = 0.55
    threshold: float = 0.8


class Read(NamedTuple):
    """A note as far as words go. ``shortlist``: what the encoder gets to see, with the lexical score."""

    note: NoteEvent
    media: NoteMedia | None
    speech: Speech
    parts: list[Part]
    phrases: dict[tuple[str, ...], Phrase]
    shortlist: list[Phrase]
    category: Category | None


class Scored(NamedTuple):
    """A candidate ready to be ranked."""

    phrase: Phrase
    dimension: str
    score: float
    vector: NDArray[np.float32]


class HandbookTagger:
    """Implements ``models.roles.Tagger``.

    Args:
        handbook: the interest dimensions.
        encoder: vectors of phrases and of the handbook.
        max_tags: tags kept per note.
        weights: of the signs of importance.
        of_handbook: the same encoder where it keeps the handbook's vectors; ``encoder`` by default.
    """

    name = "handbook"
    sees = False
    hears = True

    def __init__(
        self,
        handbook: Handbook,
        encoder: TagEncoder,
        max_tags: int = 10,
        weights: Weights | None = None,
        *,
        of_handbook: TagEncoder | None = None,
    ) -> None:
        self.version = f"{ALGORITHM}-{handbook.version}-{encoder.version}-{max_tags}"
        self._handbook = handbook
        self._encoder = encoder
        self._max_tags = max_tags
        self._weights = weights or Weights()
        self._vectors = HandbookVectors(handbook, of_handbook or encoder)
        self._shared = SharedTags(handbook, of_handbook or encoder, max_tags)

    @cached_property
    def _words(self) -> Words:
        return Words(self._handbook)

    def tag(self, notes: Sequence[NoteEvent], media: Sequence[NoteMedia] | None = None) -> list[NoteTags]:
        """See ``models.roles.Tagger``. A note without any usable text gets its category's name where it has one."""
        given = media if media is not None else [None] * len(notes)
        read = [self._read(note, of) for note, of in zip(notes, given, strict=True) if note.type != "note.deleted"]
        texts = list(dict.fromkeys(text for one in read for text in self._encoded(one)))
        rows = dict(zip(texts, self._encoder.encode(texts) if texts else [], strict=True))
        answers = iter([self._answer(one, rows) for one in read])
        return [NoteTags(note.category, []) if note.type == "note.deleted" else next(answers) for note in notes]

    def _read(self, note: NoteEvent, media: NoteMedia | None) -> Read:
        speech = speech_of(media)
        parts = parts_of(note) + speech.parts
        phrases = find_phrases(parts, self._words)
        ranked = sorted(phrases.values(), key=lambda phrase: (-round(self._lexical(phrase, note.category), 4), phrase.text))
        return Read(note, media, speech, parts, phrases, ranked[:SHORTLIST], note.category)

    def _encoded(self, read: Read) -> list[str]:
        """What of a note the encoder gets to see."""
        whole = self._shared.text_to_encode(read.note, read.parts, read.category)
        return [*(phrase.text for phrase in read.shortlist), *([whole] if whole else [])]

    def _lexical(self, phrase: Phrase, category: Category | None) -> float:
        """What the words alone say about a phrase; without a category, any category's words count."""
        weights, words = self._weights, self._words
        score = 0.0
        uses = [number for where, number in phrase.uses if category is None or where == category]
        if uses:
            score += weights.example if max(uses) != TERM else weights.term * (not _single(phrase))
        heads = words.all_heads if category is None else words.heads[category]
        score += weights.head * _is_head(phrase, heads)
        vocabulary = words.spread if category is None else words.vocabulary[category]
        score += weights.vocabulary * sum(word in vocabulary or word in words.modifiers for word in phrase.key) / len(phrase.key)
        score += weights.title * ("title" in phrase.sources) + weights.product * ("product" in phrase.sources)
        score += weights.early * (1 - phrase.span[0] / max(phrase.span[1], 1)) + weights.repeated * min(phrase.count - 1, 3)
        score -= weights.weak * phrase.weak / len(phrase.key) + weights.loose_end * (not phrase.tail) + weights.odd * phrase.odd
        return score + (-weights.single if _single(phrase) else weights.compound * _length(phrase))

    def _answer(self, read: Read, rows: dict[str, NDArray[np.float32]]) -> NoteTags:
        note = read.note
        language = language_of("\n".join(part.content.text for part in read.parts))
        vectors = np.stack([rows[phrase.text] for phrase in read.shortlist]) if read.shortlist else None
        category = note.category or self._guess(read, vectors)
        tags: list[Tag] = []
        if category is not None:
            copied = [] if vectors is None else _as_tags(self._select(self._score(read, vectors, category)))
            whole = self._shared.text_to_encode(note, read.parts, category)
            text = None if not whole else rows[whole] if whole in rows else self._encoder.encode([whole])[0]
            shared = self._shared.find(Seen(note, read.parts, category, language == "zh", text, read.shortlist, vectors))
            tags = with_shared(copied, shared, self._max_tags) if shared else copied
        if not tags:
            tags = self._fallback(read, category, language == "zh")
        lacks, may_recover = (read.media.degraded, read.media.may_recover) if read.media else ([], False)
        return NoteTags(category, read.speech.timed(tags), None if language == "other" else language, list(lacks), may_recover)

    def _guess(self, read: Read, vectors: NDArray[np.float32] | None) -> Category | None:
        """The category whose words and descriptions fit best; None where there is nothing to go by."""
        if vectors is None:
            return None
        scores = self._vectors.category_similarities(vectors).mean(axis=0) * 4
        index = {name: number for number, name in enumerate(CATEGORIES)}
        for phrase in read.phrases.values():
            weight = 1.0 + ("title" in phrase.sources) + 0.5 * ("product" in phrase.sources)
            for where, number in phrase.uses:
                scores[index[where]] += weight * (0.6 if number == TERM else 0.4) / len(phrase.uses)
            if len(phrase.key) == 1 and (spread := self._words.spread.get(phrase.key[0], 0)):
                for name in CATEGORIES:
                    scores[index[name]] += 0.15 * weight * (phrase.key[0] in self._words.vocabulary[name]) / spread
        return CATEGORIES[int(np.argmax(np.round(scores, 4)))]

    def _score(self, read: Read, vectors: NDArray[np.float32], category: Category) -> list[Scored]:
        weights = self._weights
        centre = vectors.mean(axis=0)
        centre /= max(float(np.sqrt((centre * centre).sum())), 1e-6)
        central = products(vectors, centre[None])[:, 0]
        han = np.array([phrase.han for phrase in read.shortlist])
        similarity = np.zeros((len(vectors), len(self._handbook.category(category).dimensions)))
        for side in (False, True):
            if (han == side).any():
                similarity[han == side] = self._vectors.dimensions(category, side).similarities(vectors[han == side])
        book = self._vectors.dimensions(category, bool(han[0]))
        scored = []
        for row, phrase in enumerate(read.shortlist):
            signals = _signals(phrase, category, book)
            by_dimension = [round(close + signal, 4) for close, signal in zip(similarity[row].tolist(), signals, strict=True)]
            best = by_dimension.index(max(by_dimension))
            score = self._lexical(phrase, category) + weights.similarity * float(similarity[row].max())
            score += weights.central * float(central[row])
            scored.append(Scored(phrase, book.ids[best], round(score, 4), vectors[row]))
        return sorted(scored, key=lambda one: (-one.score, one.phrase.text))

    def _select(self, ranked: list[Scored]) -> list[Scored]:
        """Low-information candidates merged: of two that say the same the finer stays, unless it is much less important."""
        chosen: list[Scored] = []
        for candidate in ranked:
            if chosen and candidate.score < self._weights.threshold:
                break
            rivals = [place for place, other in enumerate(chosen) if _same(candidate, other)]
            if not rivals:
                chosen.append(candidate)
            elif _finer(candidate.phrase, chosen[rivals[0]].phrase) and candidate.score >= chosen[rivals[0]].score - self._weights.finer:
                chosen[rivals[0]] = candidate._replace(score=chosen[rivals[0]].score)
                for place in reversed(rivals[1:]):
                    del chosen[place]
        return chosen[: self._max_tags]

    def _fallback(self, read: Read, category: Category | None, chinese: bool) -> list[Tag]:
        """One tag where no phrase was found: the first word of title, body, products or attributes; else the category's name."""
        for part in read.parts:
            found = list(WORD.finditer(part.content.text[:1000]))
            words = [word for word in found if len(word.group()) > 2 and word.group() not in self._words.breaks] or found
            if words:
                evidence = Evidence(source=part.source, position=part.base + part.content.offsets[words[0].start()])
                return [Tag(text=words[0].group()[:MAX_CHARACTERS], dimension="", rank=1, confidence=0.1, evidence=[evidence])]
        for value in list(read.note.attributes.values())[:ATTRIBUTES_LIMIT]:
            if bare := words_of(plain(value, 200).text):
                return [Tag(text=bare[0][:MAX_CHARACTERS], dimension="", rank=1, confidence=0.1)]
        if category is None:
            return []
        name = self._handbook.category(category).name
        return [Tag(text=name.zh if chinese else name.en.lower(), dimension="", rank=1, confidence=0.05)]


def _is_head(phrase: Phrase, heads: set[str]) -> bool:
    last = phrase.key[-1]
    return last in heads or (phrase.han and (last[-2:] in heads or last[-1:] in heads))


def _single(phrase: Phrase) -> bool:
    """One word, or up to two Chinese characters: mostly too coarse."""
    return len(phrase.text) <= 2 if phrase.han else len(phrase.key) == 1


def _length(phrase: Phrase) -> float:
    """Two or three words, four to six Chinese characters: fine enough to mean something, short enough to recur."""
    if phrase.han:
        return (0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 0.6, 0.6)[min(len(phrase.text), 8)] if len(phrase.text) <= 8 else 0.2
    return (0.0, 0.0, 1.0, 1.0, 0.3)[min(len(phrase.key), 4)]


def _signals(phrase: Phrase, category: Category, book: DimensionVectors) -> list[float]:
    """What words say about a phrase's dimension: an example of the handbook decides, cues in the phrase and beside it hint."""
    signals = [0.0] * len(book.ids)
    for where, number in phrase.uses:
        if where == category and number != TERM:
            signals[number] += 0.6
    for number, cues in enumerate(book.cues):
        if not cues.isdisjoint(phrase.key):
            signals[number] += 0.25
        elif not cues.isdisjoint(phrase.context):
            signals[number] += 0.05
    return signals


def _same(one: Scored, other: Scored) -> bool:
    """Whether two phrases are variants: words or text of one within the other, they overlap in the note, or have nearly the same vector."""
    first, second = one.phrase, other.phrase
    shorter, longer = sorted((first, second), key=lambda phrase: len(phrase.text))
    if set(shorter.key) <= set(longer.key) or (shorter.han and shorter.text in longer.text) or _overlap(first, second):
        return True
    return bool(round(float(one.vector @ other.vector), 4) >= 0.93)


def _overlap(one: Phrase, other: Phrase) -> bool:
    return any(
        mine.source == its.source and mine.position < its.position + len(other.text) and its.position < mine.position + len(one.text)
        for mine in one.evidence
        for its in other.evidence
    )


def _finer(one: Phrase, other: Phrase) -> bool:
    return len(one.text) > len(other.text) and (set(other.key) < set(one.key) or (other.han and other.text in one.text))


def _as_tags(chosen: list[Scored]) -> list[Tag]:
    return [
        Tag(text=one.phrase.text, dimension=one.dimension, rank=rank, confidence=_confidence(one.score), evidence=one.phrase.evidence)
        for rank, one in enumerate(chosen, 1)
    ]


def _confidence(score: float) -> float:
    """Score to [0, 1]: logistic, .5 at a score of 1.2."""
    return round(float(1 / (1 + np.exp(-3 * (score - 1.2)))), 4)
