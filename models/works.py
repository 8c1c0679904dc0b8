"""Names of works - films, books, songs - that a note is about: its title where that is a name and no sentence, or stands in 《》.

The name of a series goes beside that of a part: ``toy story 2`` also gives ``toy story``, which the other parts share.
"""

import re
from typing import NamedTuple

from models.phrases import MAX_CHARACTERS
from models.text import has_han, plain
from schemas.events import Evidence, NoteEvent

WORDS_MAX = 12
LOOKED_AT = 400
_WORD = re.compile(r"[^\W_]+(?:['\u2019&.-][^\W_]+)*")
SMALL_WORDS = "a an and as at but by for from in into of on or the to vs with without de la le el du des & -"
_SMALL = frozenset(SMALL_WORDS.split())
_BRACKETED = re.compile("\u300a([^\u300a\u300b]{1,40})\u300b")
_SENTENCE_END = re.compile(r"(?<=[^\W_]{4})[.!?;]\s|[;\u3002\uff01\uff1f\uff0c]")  # not after Mr., vs. or Vol.
_SUBTITLE = re.compile(r":| - ")
_PART = re.compile(r"\s+(?:[2-9]|i{2,3}|iv|vi{0,3}|(?:part|episode|chapter|vol|volume) .*)$")


class Work(NamedTuple):
    """``text``: the name as a tag, and where it stands."""

    text: str
    evidence: Evidence


def find_works(note: NoteEvent) -> list[Work]:
    """The name that is the title, and its series; nothing where the title is no name."""
    marked = _BRACKETED.fullmatch(note.title.strip())
    if not is_name(note.title):
        return []
    start = note.title.index(marked[1]) if marked else 0
    raw = marked[1] if marked else note.title
    content = plain(raw, LOOKED_AT)
    bare = content.text.lstrip()
    if not bare:
        return []
    evidence = Evidence(source="title", position=start + content.offsets[len(content.text) - len(bare)])
    names = dict.fromkeys((" ".join(bare.split()), _series(raw)))
    return [Work(name, evidence) for name in names if name and len(name) <= MAX_CHARACTERS]


def is_name(title: str) -> bool:
    """Whether a title is a name: marked as one and nothing else, or every word but small ones capitalised and no sentence ending within."""
    title = title.strip()
    if _BRACKETED.fullmatch(title):
        return True
    words = _WORD.findall(title[:LOOKED_AT])
    if not words or len(words) > WORDS_MAX or has_han(title) or _SENTENCE_END.search(title):
        return False
    large = [word for word in words if word.lower() not in _SMALL]
    return bool(large) and all(word[0].isupper() or word[0].isdigit() for word in (words[0], *large))


def _series(name: str) -> str:
    """The name before its subtitle and without the part's number."""
    return _PART.sub("", " ".join(plain(_SUBTITLE.split(name)[0], LOOKED_AT).text.split())).rstrip(" -")
