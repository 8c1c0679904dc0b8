"""A category's handbook as nested mappings alone, so that entries are compared and merged by what they are called, not by their number.

Dimensions go by id, concepts by English name, cues by themselves; the version is left out. A path names an entry:
``dimensions/cushioning/examples/bouncy foam``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

Tree = dict[str, Any]
Path_ = tuple[str, ...]
Kind = Literal["added", "removed", "changed"]


class Difference(Struct, frozen=True):
    """An entry that differs. ``before``, ``after``: its value, None where it is absent."""

    path: str
    kind: Kind
    before: Any
    after: Any


def to_tree(book: Mapping[str, Any]) -> Tree:
    """The tree of a category's file as YAML gives it."""
    tree = {key: value for key, value in book.items() if key not in ("version", "category", "dimensions")}
    tree["dimensions"] = {one["id"]: _dimension_tree(one) for one in book.get("dimensions", ())}
    return tree


def from_tree(tree: Tree, version: int, category: str) -> dict[str, Any]:
    """The file's content, in the order of the tree; the inverse of ``to_tree``."""
    rest = {key: value for key, value in tree.items() if key != "dimensions"}
    dimensions = [{"id": name} | _dimension_raw(one) for name, one in tree["dimensions"].items()]
    return {"version": version, "category": category} | rest | {"dimensions": dimensions}


def overlay(below: Any, above: Any) -> Any:
    """``below`` with everything that ``above`` names; entries that only ``below`` has stay."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: overlay(below[key], value) if key in below else value for key, value in above.items()}


def differences(before: Any, after: Any, path: Path_ = ()) -> Iterator[Difference]:
    """What changed from one tree to another, a whole dimension as one difference where it came or went."""
    for key in [*before, *(key for key in after if key not in before)]:
        here = (*path, key)
        if key not in after:
            yield Difference(joined(here), "removed", before[key], None)
        elif key not in before:
            yield Difference(joined(here), "added", None, after[key])
        elif isinstance(before[key], dict) and isinstance(after[key], dict):
            yield from differences(before[key], after[key], here)
        elif before[key] != after[key]:
            yield Difference(joined(here), "changed", before[key], after[key])


def joined(path: Path_) -> str:
    """A path as people write it."""
    return "/".join(path)


def _dimension_tree(raw: Mapping[str, Any]) -> Tree:
    tree = {key: value for key, value in raw.items() if key != "id"}
    if "cues" in tree:
        tree["cues"] = dict.fromkeys(tree["cues"], True)
    if "concepts" in tree:
        tree["concepts"] = {one["en"]: {"zh": one["zh"], "cues": dict.fromkeys(one["cues"], True)} for one in tree["concepts"]}
    return tree


def _dimension_raw(tree: Tree) -> dict[str, Any]:
    raw = dict(tree)
    if "cues" in raw:
        raw["cues"] = list(raw["cues"])
    if "concepts" in raw:
        raw["concepts"] = [{"en": en, "zh": one["zh"], "cues": list(one["cues"])} for en, one in raw["concepts"].items()]
    return raw
