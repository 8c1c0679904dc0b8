"""``tagstream offline evaluate-tagger``: the tagger against tags given by people, beside two plain peers on the same notes.

Soft match: cosine of the tag encoder >= .8, or half of the words (of Chinese: of the characters) in common; one to one, best pairs first.
Notes are split by a hash of their id into a half to develop on and a half to test on.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
import numpy as np
from msgspec import Struct

from models.handbook import Handbook, load_handbook
from models.handbook_tagger import HandbookTagger
from models.roles import NoteTags, TagEncoder, Tagger
from models.text import has_han
from models.words import Words, stem, words_of
from offline.tag_peers import tfidf_phrases, title_ngrams
from schemas.codec import decoder
from schemas.errors import BadSetting, InvalidEvent
from schemas.events import Category, NoteEvent, Tag

SOFT_COSINE = 0.8
SOFT_OVERLAP = 0.5
Part = Literal["dev", "test", "all"]


class GoldTag(Struct, frozen=True):
    """A tag that a person gave."""

    text: str
    dimension: str = ""


class Gold(Struct, frozen=True):
    """The tags of one note."""

    note_id: str
    category: Category
    tags: list[GoldTag]


class Sums(Struct):
    """Counts over notes; ``exact`` and ``soft`` are matched pairs."""

    notes: int = 0
    given: int = 0
    gold: int = 0
    exact: int = 0
    soft: int = 0

    def figures(self) -> dict[str, float]:
        """Precision, recall and F1 (micro means), exact and soft."""
        figures: dict[str, float] = {"notes": self.notes, "tags_per_note": round(self.given / max(self.notes, 1), 2)}
        for kind, hits in (("exact", self.exact), ("soft", self.soft)):
            precision, recall = hits / max(self.given, 1), hits / max(self.gold, 1)
            figures[f"{kind}_precision"] = round(precision, 4)
            figures[f"{kind}_recall"] = round(recall, 4)
            figures[f"{kind}_f1"] = round(2 * precision * recall / max(precision + recall, 1e-12), 4)
        return figures


def part_of(note_id: str) -> Part:
    """Which half a note belongs to, for ever."""
    return "dev" if zlib.crc32(note_id.encode()) % 2 == 0 else "test"


def match_tags(given: Sequence[str], gold: Sequence[str], encoder: TagEncoder) -> list[tuple[int, int]]:
    """Pairs (given, gold) that mean the same, one to one, best first."""
    if not given or not gold:
        return []
    cosines = encoder.encode(given) @ encoder.encode(gold).T
    pairs = []
    for i, one in enumerate(given):
        for j, other in enumerate(gold):
            overlap = _overlap(one, other)
            if cosines[i, j] >= SOFT_COSINE or overlap >= SOFT_OVERLAP:
                pairs.append((round(max(float(cosines[i, j]), overlap), 4), -i, -j))
    taken: list[tuple[int, int]] = []
    for _, i, j in sorted(pairs, reverse=True):
        if all(-i != a and -j != b for a, b in taken):
            taken.append((-i, -j))
    return taken


def score_answers(answers: Sequence[Sequence[str]], golds: Sequence[Gold], encoder: TagEncoder) -> dict[str, dict[str, float]]:
    """Figures over all notes, and over the English and the Chinese ones."""
    sums = {"all": Sums(), "en": Sums(), "zh": Sums()}
    for given, gold in zip(answers, golds, strict=True):
        wanted = [tag.text.casefold() for tag in gold.tags]
        exact = len(set(given) & set(wanted))
        soft = len(match_tags(given, wanted, encoder))
        language = "zh" if sum(map(has_han, wanted)) * 2 > len(wanted) else "en"
        for name in ("all", language):
            total = sums[name]
            total.notes += 1
            total.given += len(given)
            total.gold += len(wanted)
            total.exact += exact
            total.soft += soft
    return {name: total.figures() for name, total in sums.items() if total.notes}


def dimension_accuracy(answers: Sequence[NoteTags], golds: Sequence[Gold], handbook: Handbook, encoder: TagEncoder) -> float | None:
    """Share of softly matched tags whose dimension is one of the two of the category nearest to what the person called it.

    People name dimensions in their own words, so this is a lower bound. None where the gold tags have no dimension.
    """
    right = total = 0
    for answer, gold in zip(answers, golds, strict=True):
        book = handbook.category(gold.category)
        centres = encoder.encode([f"{dimension.name.en}: {dimension.description}" for dimension in book.dimensions])
        ids = [dimension.id for dimension in book.dimensions]
        for i, j in match_tags([tag.text for tag in answer.tags], [tag.text.casefold() for tag in gold.tags], encoder):
            called = gold.tags[j].dimension.replace("_", " ")
            if not called:
                continue
            nearest = np.argsort(-np.round(centres @ encoder.encode([called])[0], 4), kind="stable")[:2]
            mine = answer.tags[i].dimension
            shared = set(words_of(called)) & set(words_of(mine.replace("_", " ")))
            right += mine in {ids[place] for place in nearest} or bool(shared)
            total += 1
    return round(right / total, 4) if total else None


def evaluate(notes: Sequence[NoteEvent], golds: Sequence[Gold], tagger: HandbookTagger, encoder: TagEncoder) -> dict[str, Any]:
    """All figures of one set of notes; ``golds`` go with ``notes`` one to one."""
    handbook = load_handbook()
    words = Words(handbook)
    answers = tagger.tag(notes)
    uncategorised = tagger.tag([msgspec.structs.replace(note, category=None) for note in notes])
    count = max(1, round(sum(len(answer.tags) for answer in answers) / max(len(answers), 1)))
    methods: dict[str, list[list[str]]] = {
        "handbook": [_texts(answer.tags) for answer in answers],
        "handbook, category unknown": [_texts(answer.tags) for answer in uncategorised],
        "tf-idf phrases": tfidf_phrases(notes, words, count),
        "title n-grams": title_ngrams(notes, words, count),
    }
    guessed = sum(answer.category == gold.category for answer, gold in zip(uncategorised, golds, strict=True))
    return {
        "notes": len(notes),
        "methods": {name: score_answers(texts, golds, encoder) for name, texts in methods.items()},
        "dimension_accuracy": dimension_accuracy(answers, golds, handbook, encoder),
        "category_accuracy": round(guessed / max(len(notes), 1), 4),
    }


def _texts(tags: Sequence[Tag]) -> list[str]:
    return [tag.text for tag in tags]


def _overlap(one: str, other: str) -> float:
    first, second = _units(one), _units(other)
    return len(first & second) / max(len(first | second), 1)


def _units(text: str) -> set[str]:
    if has_han(text):
        return {character for character in text if not character.isspace()}
    return set(map(stem, words_of(text)))


def read_gold(notes_file: Path, gold_file: Path, part: Part) -> tuple[list[NoteEvent], list[Gold]]:
    """Notes with gold tags, in the order of the gold file; of several events of a note the newest.

    Raises:
        BadSetting: naming file and line of what cannot be read.
    """
    newest: dict[str, NoteEvent] = {}
    decode = decoder(NoteEvent)
    for note in _decoded(notes_file, lambda line: decode(line, None)):
        if note.note_id not in newest or note.occurred_at >= newest[note.note_id].occurred_at:
            newest[note.note_id] = note
    golds = _decoded(gold_file, msgspec.json.Decoder(Gold).decode)
    chosen = [gold for gold in golds if gold.note_id in newest and part in ("all", part_of(gold.note_id))]
    return [newest[gold.note_id] for gold in chosen], chosen


def read_films(directory: Path, limit: int, part: Part) -> tuple[list[NoteEvent], list[Gold]]:
    """Films with their overview as body and TMDB's keywords as gold; few keywords stand in an overview word for word."""
    from offline.datasets import movielens_keywords, movielens_notes

    ml, tmdb = directory / "ml-latest-small", directory / "tmdb-5000"
    keywords: Mapping[str, list[str]] = movielens_keywords(ml, tmdb)
    notes = [note for note in movielens_notes(ml, tmdb) if keywords.get(note.note_id) and part in ("all", part_of(note.note_id))][:limit]
    return notes, [Gold(note.note_id, "media", [GoldTag(text) for text in keywords[note.note_id]]) for note in notes]


def _decoded(file: Path, decode: Callable[[bytes], Any]) -> list[Any]:
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise BadSetting(f"{file}: {error.strerror}; give a file of JSON lines") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                rows.append(decode(line))
        except (msgspec.DecodeError, InvalidEvent) as error:
            raise BadSetting(f"{file}: line {number}: {error}") from None
    return rows


@click.command("evaluate-tagger")
@click.argument("notes", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--gold", type=click.Path(path_type=Path, dir_okay=False), help="Gold tags as JSON lines; gold.jsonl beside NOTES by default."
)
@click.option(
    "--films", type=click.Path(path_type=Path, file_okay=False), help="Directory with ml-latest-small and tmdb-5000: keywords as gold too."
)
@click.option("--limit", type=click.IntRange(min=1), default=500, show_default=True, help="Films looked at.")
@click.option(
    "--part", type=click.Choice(["dev", "test", "all"]), default="test", show_default=True, help="Half of the notes by a hash of their id."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate_tagger(*, notes: Path, gold: Path | None, films: Path | None, limit: int, part: Part, as_json: bool) -> None:
    """Compares the tagger's tags with tags that people gave.

    Example: tagstream offline evaluate-tagger offline/samples/notes.jsonl
    """
    from models.encoder import load_tag_encoder
    from schemas.settings import load

    settings = load()
    encoder = load_tag_encoder(settings)
    tagger = HandbookTagger(load_handbook(), encoder, settings.tagger_max_tags)
    sets = {"notes": read_gold(notes, gold or notes.with_name("gold.jsonl"), part)}
    if films is not None:
        sets["films"] = read_films(films, limit, part)
    report = {"tagger": _named(tagger), "part": part, "sets": {name: evaluate(*found, tagger, encoder) for name, found in sets.items()}}
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        _show(report)


def _named(tagger: Tagger) -> str:
    return f"{tagger.name} {tagger.version}"


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, figures in report["sets"].items():
        columns = ("tags", "exact P", "exact R", "exact F1", "soft P", "soft R", "soft F1")
        table = Table("method", "language", *columns, title=f"{name}: {figures['notes']} ({report['part']})")
        for method, languages in figures["methods"].items():
            for language, row in languages.items():
                scores = [f"{row[f'{kind}_{of}']:.3f}" for kind in ("exact", "soft") for of in ("precision", "recall", "f1")]
                table.add_row(method, language, f"{row['tags_per_note']:.1f}", *scores)
        console.print(table)
        dimensions = figures["dimension_accuracy"]
        console.print(
            f"dimension accuracy {'not given' if dimensions is None else dimensions}, category accuracy {figures['category_accuracy']}"
        )
