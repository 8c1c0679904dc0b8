"""Notes that the demo models are judged on, with their truth: never learned from, and the same ones in every run."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from offline.demo_models.vlm_pictures import draw_pictures, open_small, pictures_of
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.told import told
from offline.tag_data.samples import Told
from schemas.events import EvidenceSource, NoteEvent

Choice = tuple[int, int, int]
"""Seed of a community, number of the first note, how many notes."""
HELD_OUT: tuple[Choice, ...] = ((7, 200_000, 200), (99, 0, 150))


class HeldOut(Struct, frozen=True):
    """A note to be judged on. ``pictures``: index in ``pictures.npz``, source and position; ``tags``: what its media and words tell."""

    seed: int
    note: NoteEvent
    spoken: str
    pictures: list[tuple[int, EvidenceSource, int]]
    tags: list[Told]
    blind_tags: list[Told]


class Pictures:
    """Pictures by name, numbered as they come; kept as WebP."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.numbers: dict[tuple[int, str], int] = {}
        self.data: list[bytes] = []

    def number(self, seed: int, name: str) -> int:
        """Of a picture that has been drawn."""
        key = (seed, name)
        if key not in self.numbers:
            self.numbers[key] = len(self.data)
            self.data.append((self._root / str(seed) / f"{name}.webp").read_bytes())
        return self.numbers[key]

    def save(self, path: Path) -> None:
        """All pictures in one file."""
        ends = np.cumsum([len(one) for one in self.data])
        np.savez(path, data=np.frombuffer(b"".join(self.data), np.uint8), ends=ends)


class Drawn(NamedTuple):
    """Held-out notes, and the pixels of their pictures by number, uint8 of (height, width, 3), RGB."""

    notes: list[HeldOut]
    pixels: list[NDArray[np.uint8]]


def draw_held_out(choices: Sequence[Choice], directory: Path, advance: Callable[[int], None] | None = None) -> Drawn:
    """Draws what is missing of the notes' pictures into the directory, by seed. ``advance`` is called with the number of notes done."""
    for done, (seed, made) in enumerate(_notes(choices), 1):
        (directory / str(seed)).mkdir(parents=True, exist_ok=True)
        draw_pictures(made.truth, directory / str(seed))
        if advance:
            advance(done)
    pictures = Pictures(directory)
    notes = held_out_notes(choices, pictures)
    return Drawn(notes, [open_small(one) for one in pictures.data])


def held_out_notes(choices: Sequence[Choice], pictures: Pictures) -> list[HeldOut]:
    """The notes, whose pictures have been drawn."""
    return [_held_out(seed, made, pictures) for seed, made in _notes(choices)]


def _notes(choices: Sequence[Choice]) -> Iterator[tuple[int, SimulatedNote]]:
    for seed, first, notes in choices:
        for number in range(first, first + notes):
            yield seed, Community(seed).note(number)


def _held_out(seed: int, made: SimulatedNote, pictures: Pictures) -> HeldOut:
    seen = [(pictures.number(seed, one.name), one.source, one.position) for one in pictures_of(made.truth)]
    event, truth = made
    whole = told(truth, event, truth.spoken, [source for _, source, _ in seen])
    return HeldOut(seed, event, truth.spoken, seen, whole, told(truth, event, "", []))
