"""Where a note's words speak for concepts of a handbook: whole words by their stem, words that begin so, runs of words, Chinese text."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from models.handbook import Concept
from models.phrases import Part
from models.text import has_han
from models.words import WORD, stem, words_of
from schemas.events import Evidence

Spoken = dict[int, dict[str, Evidence]]
"""Concept number -> cue -> where it first stands in the note."""


class Run(NamedTuple):
    """A cue of several words. ``rest``: stems after the first; ``opened``: the last one is only how the word begins."""

    cue: str
    rest: tuple[str, ...]
    opened: bool
    concept: int


class Cues:
    """The cues of a category's concepts, numbered in the order given."""

    def __init__(self, concepts: Sequence[Concept]) -> None:
        self._words: dict[str, list[tuple[str, int]]] = {}
        self._beginnings: dict[str, list[tuple[str, int]]] = {}
        self._runs: dict[str, list[Run]] = {}
        self._han: list[tuple[str, int]] = []
        for number, concept in enumerate(concepts):
            for cue in (*concept.cues, concept.en, concept.zh):
                self._learn(cue, number)
        self._lengths = sorted({len(beginning) for beginning in self._beginnings})

    def _learn(self, cue: str, number: int) -> None:
        if has_han(cue):
            self._han.append((cue, number))
            return
        opened, words = cue.endswith("*"), words_of(cue)
        if len(words) == 1:
            known, key = (self._beginnings, words[0]) if opened else (self._words, stem(words[0]))
            known.setdefault(key, []).append((cue, number))
        elif words:
            rest = (*map(stem, words[1:-1]), words[-1] if opened else stem(words[-1]))
            self._runs.setdefault(stem(words[0]), []).append(Run(cue, rest, opened, number))

    def find(self, parts: Sequence[Part]) -> Spoken:
        """Every cue that the parts have, each with its first place."""
        spoken: Spoken = {}
        for part in parts:
            for cue, number, at in self._in_text(part.content.text):
                places = spoken.setdefault(number, {})
                if cue not in places:
                    places[cue] = Evidence(source=part.source, position=part.base + part.content.offsets[at])
        return spoken

    def _in_text(self, text: str) -> Iterator[tuple[str, int, int]]:
        words = [(found.group(), found.start()) for found in WORD.finditer(text)]
        stems = [stem(word) for word, _ in words]
        for place, (word, at) in enumerate(words):
            for cue, number in self._words.get(stems[place], ()):
                yield cue, number, at
            for length in self._lengths:
                if length > len(word):
                    break
                for cue, number in self._beginnings.get(word[:length], ()):
                    yield cue, number, at
            for run in self._runs.get(stems[place], ()):
                last = place + len(run.rest)
                if last < len(words) and _runs_on(run, stems[place + 1 : last + 1], words[last][0]):
                    yield run.cue, run.concept, at
        if has_han(text):
            for cue, number in self._han:
                if (found := text.find(cue)) >= 0:
                    yield cue, number, found


def _runs_on(run: Run, stems: list[str], last: str) -> bool:
    if not run.opened:
        return tuple(stems) == run.rest
    return tuple(stems[:-1]) == run.rest[:-1] and last.startswith(run.rest[-1])
