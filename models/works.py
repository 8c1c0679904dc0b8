"""Names of works - films, books, songs - that a note is about: the title where it is a name and no sentence, and what stands in 《》.

The name of a series goes beside that of a part: ``toy story 2`` also gives ``toy story``, which the other parts share.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from models.phrases import MAX_CHARACTERS
from models.text import PlainText, has_han, plain
from schemas.events import Evidence, NoteEvent

WORDS_MAX = 12
NAMES_MAX = 2
LOOKED_AT = 400
_WORD = re.compile(r"[^\W_]+(?:['\u2019&.-][^\W_]+)*")
SMALL_WORDS = "a an and as at but by for from in into of on or the to vs with without de la le el du des & -"
_SMALL = frozenset(SMALL_WORDS.split())
_BRACKETED = re.compile("\u300a([^\u300a\u300b]{1,40})\u300b")
_SENTENCE_END = re.compile(r"(?<=[^\W_]{4})[.!?;]\s|[;\u3002\uff01\uff1f\uff0c]")  # not after Mr., vs. or Vol.
_PART = re.compile(r"\s+(?:[2-9]|i{2,3}|iv|vi{0,3}|(?:part|episode|chapter|vol|volume) .*)$")


class Work(NamedTuple):
    """``text``: the name as a tag, and where it stands."""

    text: str
    evidence: Evidence


def find_works(note: NoteEvent) -> list[Work]:
    """At most two names, of title first; nothing where the title is a sentence and no name is marked."""
    found: dict[str, Work] = {}
    for text, evidence in _names(note):
        if text and len(text) <= MAX_CHARACTERS:
            found.setdefault(text, Work(text, evidence))
    return list(found.values())[:NAMES_MAX]


def _names(note: NoteEvent) -> Iterator[tuple[str, Evidence]]:
    title = note.title[:LOOKED_AT]
    if is_name(title):
        content = plain(title, LOOKED_AT)
        start = len(content.text) - len(content.text.lstrip())
        evidence = Evidence(source="title", position=content.offsets[start]) if start < len(content.offsets) else None
        if evidence is not None:
            yield " ".join(content.text.split()), evidence
            yield _series(content), evidence
    for source, text in (("title", title), ("body", note.body[:LOOKED_AT])):
        for marked in _BRACKETED.finditer(text):
            content = plain(marked[1], LOOKED_AT)
            if content.text and not content.text[0].isspace():
                yield " ".join(content.text.split()), Evidence(source=source, position=marked.start(1) + content.offsets[0])  # type: ignore[arg-type]


def is_name(title: str) -> bool:
    """Whether every word of an English title but small ones is capitalised, as in a name, and no sentence ends within it."""
    words = _WORD.findall(title)
    if not words or len(words) > WORDS_MAX or has_han(title) or _SENTENCE_END.search(title.strip()):
        return False
    large = [word for word in words if word.lower() not in _SMALL]
    return bool(large) and all(word[0].isupper() or word[0].isdigit() for word in (words[0], *large))


def _series(content: PlainText) -> str:
    """The name before its subtitle and without the part's number."""
    head = content.text.strip().split("\n")[0].split(" - ")[0]
    return _PART.sub("", " ".join(head.split())).strip(" -")
