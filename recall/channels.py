"""Candidate sources. Each proposes notes for one reader with a score of its own; what they propose is judged by the filters, not here.

| channel | proposes | score |
|---|---|---|
| ``tag_embedding`` | notes whose vector lies nearest to the reader's | cosine |
| ``tag_index`` | notes that share tags with the profile, word for word | sum of the profile scores of the shared tags |
| ``tag_index_idf`` | the same | each shared tag weighted by its inverse document frequency |
| ``fresh`` | newest notes, of the reader's categories and of all | weighted reciprocal ranks |

The learned channels are in ``recall/learned_channels.py``.

``fresh`` is what a reader without a profile gets, and what fills up when the others find too little.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from models.roles import TagEncoder
from recall.merge import RANK_OFFSET, Blend
from recall.reader import KnownNotes, Reader
from recall.stores import ALL, Glance, Hit, Look, Looked, NoteIndex, Window
from schemas.writes import TAG_SPACE

if TYPE_CHECKING:
    from recall.learned_channels import ReaderVectors
    from recall.stores import Vector

TAGS_ENCODED = 64
TAGS_LOOKED_UP = 128
RESCORED = 2
CATEGORIES_FOLLOWED = 3
WORD_FOR_WORD = ("tag_index", "tag_index_idf", "fresh", "exploration")
"""Channels that need Redis alone, and whose proposals only equal tags explain; the others' are explained by similar ones too."""


class Context(Struct, frozen=True):
    """What a channel may use. ``limit``: how many candidates to propose at most; ``vectors``: the reader's, in the learned spaces;
    ``at_once``: whether the channels ask at the same time."""

    reader: Reader
    window: Window
    limit: int
    notes: KnownNotes
    index: NoteIndex
    encoder: TagEncoder
    vectors: "ReaderVectors | None" = None
    at_once: bool = True


class Found(NamedTuple):
    """What a channel proposes, at most ``Context.limit`` notes, best first. ``more``: a higher limit may find further ones."""

    hits: list[Hit]
    more: bool


NOTHING = Found([], False)
Steps: TypeAlias = Generator[Look, Looked, Found]
Search: TypeAlias = Callable[[], Found]


class Channel(Protocol):
    """A candidate source. ``blend`` says how its scores enter the merge."""

    @property
    def name(self) -> str: ...
    @property
    def blend(self) -> Blend: ...

    def candidates(self, context: Context) -> Found:
        """Proposes notes for ``context.reader``.

        Raises:
            Transient: when a store does not answer; the query goes on without this channel.
        """
        ...


class Nearest(Channel, Protocol):
    """A candidate source that searches the note index."""

    def ask(self, context: Context) -> Search:
        """``candidates`` as far as it computes here; what it returns waits for the index, and raises as ``candidates`` does."""
        ...


def search_by(vector: "Vector | None", context: Context, space: str = TAG_SPACE) -> Search:
    """The search for what lies nearest to a reader's vector, shape (dimension of the space,); for nothing where there is none."""
    if vector is None:
        return nothing
    asked = vector

    def search() -> Found:
        hits = context.index.search(asked[None, :], context.limit, context.window, space)[0]
        return Found(hits, len(hits) >= context.limit)

    return search


def nothing() -> Found:
    """The search of a channel that has nothing to go by."""
    return NOTHING


class TagEmbedding(Struct, frozen=True):
    """Nearest notes to the score-weighted mean of the vectors of the reader's highest scored tags (paper section 3.3, recall by tags)."""

    name: str = "tag_embedding"
    blend: Blend = Blend(resolution=0.005)

    def ask(self, context: Context) -> Search:
        """See ``Nearest``."""
        liked = context.reader.top(TAGS_ENCODED)
        if not liked:
            return nothing
        from models.pooling import user_vector

        return search_by(user_vector(context.encoder.encode(list(liked)), list(liked.values())), context)

    def candidates(self, context: Context) -> Found:
        """See ``Channel``."""
        return self.ask(context)()


class WordForWord(Channel, Protocol):
    """A candidate source that needs Redis alone. ``steps`` yields what it wants to see next and gets it, with what others asked for at the
    same time; records come into ``context.notes``."""

    def steps(self, context: Context) -> Steps:
        """``candidates``, step by step."""
        ...


class TagIndex(Struct, frozen=True):
    """Notes found under the reader's highest scored tags, scored by their records: an entry whose record lost the tag is no candidate.

    Of each tag the newest ``limit`` notes of the window are looked at; where that cuts a tag's list, a note's sum over the lists may be too
    low, so the records of the best 2 x ``limit`` are read to score them. ``rare``: weight a tag by ``idf`` over all notes of the index.
    """

    name: str = "tag_index"
    rare: bool = False
    blend: Blend = Blend(absent=0.0)

    def candidates(self, context: Context) -> Found:
        """See ``Channel``."""
        return ask_together([self], context)[self.name]

    def steps(self, context: Context) -> Steps:
        """See ``WordForWord``."""
        liked = context.reader.top(TAGS_LOOKED_UP)
        if not liked:
            return NOTHING
        looked = yield Look(tags=tuple(liked), counted=tuple(liked) if self.rare else ())
        counts = looked.counts
        weights = {text: score * idf(counts.notes, counts.tagged[text]) for text, score in liked.items()} if self.rare else liked
        cut = looked.listed.cut
        best = context.limit * RESCORED if cut else context.limit
        sums = looked.listed.sums(weights, best)
        yield Look(notes=tuple(sums))
        if len(sums) > best:  # those that equal the last are among them
            ordered = _best([Hit(note_id, total, _published(note_id, context)) for note_id, total in sums.items()], best)
            sums = {hit.note_id: hit.score for hit in ordered}
        return Found(_best(_scored(sums, context.notes.records, weights), context.limit), cut or len(sums) >= context.limit)


class Fresh(Struct, frozen=True):
    """Newest notes by reciprocal rank: of all categories, and of those the reader acts on most, weighted by their share."""

    name: str = "fresh"
    blend: Blend = Blend(by_rank=True)

    def candidates(self, context: Context) -> Found:
        """See ``Channel``."""
        return ask_together([self], context)[self.name]

    def steps(self, context: Context) -> Steps:
        """See ``WordForWord``."""
        looked = yield Look(categories=(ALL,), notes=context.reader.recent_notes)
        newest = looked.newest[ALL]
        shares = category_shares(context)
        looked = yield Look(categories=tuple(shares))
        scores = {note_id: 1.0 / (RANK_OFFSET + rank) for rank, note_id in enumerate(newest, start=1)}
        for category, weight in shares.items():
            for rank, note_id in enumerate(looked.newest[category], start=1):
                scores[note_id] = scores.get(note_id, 0.0) + weight / (RANK_OFFSET + rank)
        if len(scores) > context.limit:
            least = sorted(scores.values(), reverse=True)[context.limit - 1]
            wanted = {note_id: score for note_id, score in scores.items() if score >= least}
        else:
            wanted = scores
        yield Look(notes=tuple(wanted))
        hits = [Hit(note_id, score, _published(note_id, context)) for note_id, score in wanted.items()]
        return Found(_best(hits, context.limit), len(scores) >= context.limit)


def ask_together(channels: Iterable[WordForWord], context: Context) -> dict[str, Found]:
    """What the channels propose, by name; what they want to see at one time is read in one round trip.

    Raises:
        Transient: when Redis does not answer.
    """
    running = {channel.name: channel.steps(context) for channel in channels}
    found: dict[str, Found] = {}
    seen: Looked | None = None
    while running:
        wanted: dict[str, Look] = {}
        for name, steps in running.items():
            try:
                wanted[name] = next(steps) if seen is None else steps.send(seen)
            except StopIteration as done:
                found[name] = done.value
        if wanted:
            whole = Look(*(tuple(chain.from_iterable(parts)) for parts in zip(*wanted.values(), strict=True)))
            seen = context.notes.look(whole, context.window, context.limit)
        running = {name: running[name] for name in wanted}
    return found


_ALL: tuple[Channel, ...] = (TagEmbedding(), TagIndex(), TagIndex("tag_index_idf", rare=True), Fresh())
CHANNELS: dict[str, Channel] = {channel.name: channel for channel in _ALL}
DEFAULT_CHANNELS = ("tag_embedding", "tag_index_idf", "fresh")


def idf(notes: int, tagged: int) -> float:
    """ln((N + 1) / df), at least ln((N + 1) / N): a tag that all notes have still says a little (Sparck Jones 1972, one note added)."""
    return math.log((notes + 1) / min(tagged, notes)) if notes and tagged else 0.0


def _scored(sums: Mapping[str, float], records: Mapping[str, Glance], weights: Mapping[str, float]) -> list[Hit]:
    """Hits with their records' scores, none for those that share nothing; a note that is unknown or deleted stays, and the filters name
    it."""
    hits: list[Hit] = []
    for note_id, total in sums.items():
        record = records.get(note_id)
        if record is None or record.deleted:
            hits.append(Hit(note_id, total, 0 if record is None else record.published_at))
            continue
        shared = [weights[text] for text in record.texts if text in weights]
        if shared:
            hits.append(Hit(note_id, math.fsum(shared), record.published_at))
    return hits


def _published(note_id: str, context: Context) -> int:
    """When a note was published; 0 of one that is unknown, which no filter lets through."""
    record = context.notes.records.get(note_id)
    return 0 if record is None else record.published_at


def category_shares(context: Context) -> dict[str, float]:
    """Share of the reader's followed categories among the notes acted on last, most frequent first."""
    records = context.notes.get(context.reader.recent_notes)
    counts = Counter([record.category for record in records.values() if record.category])
    total = counts.total()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {category: count / total for category, count in ordered[:CATEGORIES_FOLLOWED]}


def _best(hits: list[Hit], limit: int) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, -hit.published_at, hit.note_id))[:limit]
