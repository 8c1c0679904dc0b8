"""What differs between two handbooks, or two files of one category, by what is meant and not by how it is written."""

from pathlib import Path

from msgspec import Struct

from models.handbook import SHARED
from offline.handbook.files import book_paths, read_book
from offline.handbook.tree import Difference, Tree, differences, joined
from offline.handbook.validate import file_faults
from schemas.errors import BadSetting


class FileDifference(Struct, frozen=True):
    """A difference in one category's file, or the shared one."""

    file: str
    difference: Difference


def compare_handbooks(before: Path, after: Path) -> list[FileDifference]:
    """Differences from one to the other; both are directories, or both files of a category.

    Raises:
        BadSetting: when one cannot be read or is not valid.
    """
    if before.is_dir() != after.is_dir():
        raise BadSetting(f"{before}, {after}: one is a directory and one a file; give two of a kind")
    if not before.is_dir():
        return [FileDifference(after.name, one) for one in _differences(read_book(before).tree, read_book(after).tree)]
    found = []
    for (name, old), new in zip(book_paths(before).items(), book_paths(after).values(), strict=True):
        read = _shared if name == SHARED else _category
        found += [FileDifference(new.name, one) for one in _differences(read(old), read(new))]
    return found


def _differences(before: Tree, after: Tree) -> list[Difference]:
    return [*differences(before, after), *_order(before, after)]


def _order(before: Tree, after: Tree) -> list[Difference]:
    """Where dimensions stand in another order, which taggers see too."""
    old, new = (list(tree.get("dimensions", {})) for tree in (before, after))
    old, new = [one for one in old if one in new], [one for one in new if one in old]
    return [] if old == new else [Difference(joined(("dimensions",)), "changed", old, new)]


def _category(path: Path) -> Tree:
    return read_book(path).tree


def _shared(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadSetting(f"{path}: cannot be read ({error.strerror})") from None
    faults, raw = file_faults(path.name, text, SHARED)
    if faults:
        raise BadSetting(f"{path}: {faults[0].field}: {faults[0].reason}")
    assert isinstance(raw, dict)
    return {key: value for key, value in raw.items() if key != "version"}
