"""Tags of one note that exclude each other: the same thing said of it with another colour, material or number."""

from collections.abc import Sequence
from typing import NamedTuple

from models.guards.places import stems_of
from models.handbook import Handbook
from schemas.events import Tag

_KINDS = (
    "red,crimson,burgundy,pink,orange,yellow,green,olive,mint,blue,navy,sky blue,purple,lavender,brown,coffee colored,camel,beige,ivory"
    ",cream,white,black,grey,silver,gold,khaki,apricot,turquoise,teal",
    "cotton,linen,wool,cashmere,silk,leather,denim,mesh,ceramic,wooden,bamboo,glass,stainless steel,aluminum,carbon fiber,canvas,velvet"
    ",suede",
    "spring,summer,autumn,winter",
    "striped,floral,plaid,solid color,dotted",
    "matte,glossy",
    "thick,thin",
    "large,small,mini",
)
_NUMERALS = frozenset("一二三四五六七八九十百千万半两")


class Conflict(NamedTuple):
    """Two tags that exclude each other: the one on the product card stayed."""

    dimension: str
    kept: str
    removed: str

    def __str__(self) -> str:
        return f"{self.dimension}: {self.removed} against {self.kept} on the product card"


class Values:
    """Words of which only one can hold where they stand in each other's place: colours among themselves, materials, seasons and so on, as
    far as the handbook's modifiers name them, and numbers."""

    def __init__(self, handbook: Handbook) -> None:
        shared = handbook.shared.modifiers
        self._modifiers = {tuple(stems_of(text)) for pair in shared.items() for text in pair}
        self._kinds: dict[tuple[str, ...], int] = {}
        for kind, words in enumerate(_KINDS):
            for en in words.split(","):
                for text in (en, shared.get(en, en)):
                    value = tuple(stems_of(text))
                    self._kinds[value[:-1] if len(value) == 2 and value[-1] == "色" else value] = kind
                    self._kinds[value] = kind

    def has(self, stems: Sequence[str]) -> bool:
        """Whether a modifier stands among the stems."""
        return any(tuple(stems[first:last]) in self._modifiers for first in range(len(stems)) for last in range(first + 1, len(stems) + 1))

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
        """Whether two runs of stems are different values of one kind."""
        if left == right:
            return False
        kind = self._kind(left)
        return (kind is not None and kind == self._kind(right)) or (_number(left) and _number(right))

    def _kind(self, stems: Sequence[str]) -> int | None:
        """Of the value that the run is or ends with: ``mustard yellow`` is a yellow."""
        ends = (self._kinds.get(tuple(stems[first:])) for first in range(len(stems)))
        return next((kind for kind in ends if kind is not None), None)


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
