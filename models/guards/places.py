"""Where a phrase stands in a note's texts: whatever its case, width and plural, the words in order."""

import re
from collections.abc import Iterator

from msgspec import Struct

from models.phrases import parts_of
from models.roles import NoteMedia
from models.text import PlainText, plain
from models.words import stem
from schemas.events import Evidence, EvidenceSource, NoteEvent

UTTERANCE_LIMIT = 2_000
UTTERANCES_LIMIT = 500
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_PIECE = re.compile(f"[{_HAN}]|[^\\W_{_HAN}]+(?:'[^\\W_{_HAN}]+)?")


class _Text(Struct, frozen=True):
    """One text as stems (a Chinese character is one), with the evidence of each."""

    source: EvidenceSource
    stems: list[str]
    positions: list[int]


class Places:
    """The texts of one note and what was said in its media, made ready to be searched."""

    def __init__(self, note: NoteEvent, media: NoteMedia | None) -> None:
        self._texts = [_text(part.source, part.content, part.base) for part in parts_of(note)]
        for spoken in (media.speech if media else [])[:UTTERANCES_LIMIT]:
            content = plain(spoken.utterance.text, UTTERANCE_LIMIT)
            stems = [key for key, _ in _pieces(content)]
            self._texts.append(_Text(spoken.source, stems, [spoken.utterance.start_ms] * len(stems)))

    def find(self, phrase: str) -> list[Evidence]:
        """The first place in each source that says it, in the order title, body, product, speech; empty where none does."""
        wanted = stems_of(phrase)
        found: dict[EvidenceSource, Evidence] = {}
        for text in self._texts:
            if text.source not in found and (at := _at(text.stems, wanted)) is not None:
                found[text.source] = Evidence(source=text.source, position=text.positions[at])
        return list(found.values())


def stems_of(phrase: str, limit: int = 400) -> list[str]:
    """The stems of a text's first ``limit`` characters in order; each Chinese character is one."""
    return [key for key, _ in _pieces(plain(phrase, limit))]


def _text(source: EvidenceSource, content: PlainText, base: int) -> _Text:
    pieces = list(_pieces(content))
    return _Text(source, [key for key, _ in pieces], [base + content.offsets[start] for _, start in pieces])


def _pieces(content: PlainText) -> Iterator[tuple[str, int]]:
    for found in _PIECE.finditer(content.text):
        yield stem(found.group()), found.start()


def _at(stems: list[str], wanted: list[str]) -> int | None:
    if not wanted:
        return None
    width = len(wanted)
    for at, first in enumerate(stems[: len(stems) - width + 1]):
        if first == wanted[0] and stems[at : at + width] == wanted:
            return at
    return None
