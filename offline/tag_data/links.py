"""What ties samples together, so that one may not be learned from when another is judged by: their components."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offline.tag_data import near_pictures, near_text
from offline.tag_data.samples import Sample
from schemas.events import Category

Kind = Literal["note", "author", "text", "picture"]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]


class Traits(NamedTuple):
    """Of a sample, what can tie it to another. ``texts``: shingles of what its author wrote and of what is spoken, as far as they are long
    enough to tell; product cards are not its author's words. ``pictures``: below ``directory``."""

    directory: Path
    note_id: str
    author_id: str
    category: Category | None
    texts: list[near_text.Shingles]
    pictures: list[str]


class Link(NamedTuple):
    """Two samples by number that belong together, and why."""

    kind: Kind
    left: int
    right: int


def traits_of(sample: Sample, directory: Path) -> Traits:
    """Of a sample that lies in the directory."""
    note = sample.note
    spoken = " ".join(one.utterance.text for one in sample.speech)
    texts = [near_text.shingles(text) for text in (f"{note.title}\n{note.body}", spoken)]
    long = [text for text in texts if len(text) >= near_text.SHORTEST]
    return Traits(directory, note.note_id, note.author_id, note.category, long, sorted({one.file for one in sample.pictures}))


def links_between(traits: Sequence[Traits], kinds: Sequence[Kind] = KINDS, advance: Callable[[], None] | None = None) -> list[Link]:
    """Links that connect all that belongs together by any of the kinds; within a kind they are no more than it takes.

    Args:
        traits: of the samples.
        kinds: which ties count.
        advance: called for every picture that has been looked at.

    Raises:
        MissingPrerequisite: when a picture is absent.
    """
    find: dict[Kind, Callable[[], Iterator[tuple[int, int]]]] = {
        "note": lambda: _same(one.note_id for one in traits),
        "author": lambda: _same(one.author_id for one in traits),
        "text": lambda: _near_texts(traits),
        "picture": lambda: _near_pictures(traits, advance),
    }
    found = dict.fromkeys(Link(kind, *pair) for kind in KINDS if kind in kinds for pair in find[kind]())
    return [link for link in found if link.left != link.right]


def components(count: int, links: Iterable[Link]) -> list[list[int]]:
    """The numbers below ``count`` in groups that no link crosses, each sorted, largest first, then by their first number."""
    roots = np.arange(count)
    for link in links:
        left, right = _root(roots, link.left), _root(roots, link.right)
        roots[max(left, right)] = min(left, right)
    groups: dict[int, list[int]] = defaultdict(list)
    for number in range(count):
        groups[_root(roots, number)].append(number)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))


def kinds_within(links: Iterable[Link], group: Iterable[int]) -> dict[Kind, int]:
    """How many links of each kind hold a component together."""
    members = set(group)
    counted = Counter(link.kind for link in links if link.left in members)
    return {kind: counted[kind] for kind in KINDS if counted[kind]}


def _same(keys: Iterable[Hashable]) -> Iterator[tuple[int, int]]:
    first: dict[Hashable, int] = {}
    for number, key in enumerate(keys):
        if first.setdefault(key, number) != number:
            yield first[key], number


def _near_texts(traits: Sequence[Traits]) -> Iterator[tuple[int, int]]:
    texts = [(number, text) for number, one in enumerate(traits) for text in one.texts]
    for left, right in near_text.near_duplicates([text for _, text in texts]):
        yield texts[left][0], texts[right][0]


def _near_pictures(traits: Sequence[Traits], advance: Callable[[], None] | None) -> Iterator[tuple[int, int]]:
    files: dict[Path, list[str]] = defaultdict(list)
    for one in traits:
        files[one.directory] += one.pictures
    looks = {place: near_pictures.picture_looks(place, list(dict.fromkeys(held)), advance) for place, held in files.items()}
    seen = [(number, looks[one.directory][file]) for number, one in enumerate(traits) for file in one.pictures]
    for left, right in near_pictures.near_duplicates([look for _, look in seen]):
        yield seen[left][0], seen[right][0]


def _root(roots: NDArray[np.int64], number: int) -> int:
    while roots[number] != number:
        roots[number] = roots[roots[number]]
        number = int(roots[number])
    return number
