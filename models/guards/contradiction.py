"""Tags of one note that exclude each other: the same thing said of it with another colour, material or number."""

from collections.abc import Sequence
from typing import NamedTuple

from models.guards.places import stems_of
from models.handbook import Handbook
from schemas.events import Tag

_NUMERALS = frozenset("一二三四五六七八九十百千万半两")


class Conflict(NamedTuple):
    """Two tags that exclude each other: the one on the product card stayed."""

    dimension: str
    kept: str
    removed: str

    def __str__(self) -> str:
        return f"{self.dimension}: {self.removed} against {self.kept} on the product card"


class Values:
    """Words that exclude each other where one stands in the other's place: modifiers of the handbook (colours, materials), numbers."""

    def __init__(self, handbook: Handbook) -> None:
        shared = handbook.shared.modifiers
        self._values = {tuple(stems_of(text)) for pair in shared.items() for text in pair}
        self._values |= {value[:-1] for value in self._values if len(value) == 2 and value[-1] == "色"}

    def has(self, stems: Sequence[str]) -> bool:
        """Whether a modifier stands among the stems."""
        return any(tuple(stems[first:last]) in self._values for first in range(len(stems)) for last in range(first + 1, len(stems) + 1))

    def instead(self, left: Sequence[str], right: Sequence[str]) -> bool:
        """Whether two texts say the same of different values: what differs, with up to two shared stems around it (``色``), is one."""
        mine, its = differing(left, right)
        first = next(at for at in range(len(left) + 1) if left[at : at + len(mine)] == mine and left[:at] == right[:at])
        for before in range(min(first, 2) + 1):
            for after in range(min(len(left) - first - len(mine), 2) + 1):
                one = left[first - before : first + len(mine) + after]
                other = right[first - before : first + len(its) + after]
                if len(one) < len(left) and self.exclusive(one, other):
                    return True
        return False

    def exclusive(self, left: Sequence[str], right: Sequence[str]) -> bool:
        """Whether two runs of stems are values of which only one can hold."""
        return left != right and ((tuple(left) in self._values and tuple(right) in self._values) or (_number(left) and _number(right)))


def resolve(tags: Sequence[Tag], values: Values) -> tuple[list[Tag], list[Conflict]]:
    """The tags without those that a tag on the product card excludes, and what was in conflict.

    Two tags exclude each other when they are of one dimension and differ only in one run of words, which are exclusive values. Where both
    or neither stand on a card, both stay: a note may be about two things.
    """
    stems = [stems_of(tag.text) for tag in tags]
    kept: list[Tag] = []
    conflicts: list[Conflict] = []
    for number, tag in enumerate(tags):
        other = None if _on_card(tag) else _excluding(number, tags, stems, values)
        if other is None:
            kept.append(tag)
        else:
            conflicts.append(Conflict(tag.dimension, other.text, tag.text))
    return kept, conflicts


def differing(left: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is left of two runs of stems without their common beginning and end."""
    first = 0
    while first < min(len(left), len(right)) and left[first] == right[first]:
        first += 1
    last = 0
    while last < min(len(left), len(right)) - first and left[-1 - last] == right[-1 - last]:
        last += 1
    return list(left[first : len(left) - last]), list(right[first : len(right) - last])


def _excluding(number: int, tags: Sequence[Tag], stems: Sequence[list[str]], values: Values) -> Tag | None:
    for other, theirs in zip(tags, stems, strict=True):
        if other.dimension != tags[number].dimension or not _on_card(other):
            continue
        if values.instead(stems[number], theirs):
            return other
    return None


def _on_card(tag: Tag) -> bool:
    return any(one.source == "product" for one in tag.evidence)


def _number(stems: Sequence[str]) -> bool:
    return bool(stems) and all(any(sign.isdigit() for sign in one) or one in _NUMERALS for one in stems)
