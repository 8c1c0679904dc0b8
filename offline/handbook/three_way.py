"""The three-way merge of trees: what was proposed before, what is proposed now, and the file as the experts have it.

A proposal adds and changes; it never removes. Where an expert did otherwise than was proposed, the expert's side stands: the same proposal
again is passed over, a new one is a conflict.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from models.handbook import CategoryHandbook, Dimension
from offline.handbook.tree import Path_, Tree, joined, overlay


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Any = _Absent()


def _bound(kind: type[Struct], name: str, which: str) -> int:
    (annotated,) = (one.type for one in msgspec.structs.fields(kind) if one.name == name)
    return int(getattr(annotated.__metadata__[0], which))


EXAMPLES_LEAST, EXAMPLES_MOST = (_bound(Dimension, "examples", which) for which in ("min_length", "max_length"))
DIMENSIONS_MOST = _bound(CategoryHandbook, "dimensions", "max_length")


class Conflict(Struct, frozen=True):
    """A proposal that is left to the expert. ``before``: as proposed earlier (or as the file had it, where the expert removed it);
    ``proposed``; ``stands``: what the file has; None where there is nothing."""

    path: str
    reason: str
    before: Any
    proposed: Any
    stands: Any


class Merged(Struct):
    """``tree``: the file's new content; ``settled``: proposals that were decided on, to be remembered."""

    tree: Tree
    settled: Tree = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)


Way = Literal["keep", "take"]
Decision = Callable[[str], Way | None]
"""A conflict's path to ``keep`` (the file's side), ``take`` (the proposal) or None (undecided)."""


def chosen(keep: Iterable[str], take: Iterable[str]) -> Decision:
    """Decisions by paths; a path speaks for what lies under it, ``all`` for everything, the longest first."""
    asked: tuple[tuple[Way, Iterable[str]], ...] = (("take", take), ("keep", keep))
    ways = {"" if path == "all" else f"{path}/": way for way, paths in asked for path in paths}

    def decide(path: str) -> Way | None:
        fitting = [of for of in ways if f"{path}/".startswith(of)]
        return ways[max(fitting, key=len)] if fitting else None

    return decide


UNDECIDED = chosen((), ())


def merge_trees(proposed: Tree, known: Tree, theirs: Tree, ours: Tree, decide: Decision = UNDECIDED) -> Merged:
    """Merges a new proposal into the file's content.

    Args:
        proposed: all that was proposed and decided on before.
        known: all that the file is known to have held.
        theirs: the new proposal; what it does not name is as it was.
        ours: the file's content.
        decide: what the expert says about a conflict.
    """
    merge = _Merge(decide)
    merge.outcome.tree = copy.deepcopy(merge.merged(proposed, known, theirs, ours, ()))
    merge.make_room(ours)
    return merge.outcome


class _Merge:
    def __init__(self, decide: Decision) -> None:
        self.decide = decide
        self.outcome = Merged({})

    def merged(self, proposed: Any, known: Any, theirs: Any, ours: Any, path: Path_) -> Any:
        if theirs is ABSENT:
            return ours
        if isinstance(theirs, dict) and isinstance(ours, dict):
            result = dict(ours)
            for key, one in theirs.items():
                found = self.merged(_at(proposed, key), _at(known, key), one, _at(ours, key), (*path, key))
                if found is not ABSENT:
                    result[key] = found
            return result
        before = proposed if ours is not ABSENT else _both(known, proposed)
        if ours == theirs:
            self.settle(path, theirs)
            return ours
        if _covers(before, theirs):
            return ours
        if ours == before:
            self.settle(path, theirs)
            return theirs
        return self.conflict(path, before, theirs, ours)

    def conflict(self, path: Path_, before: Any, theirs: Any, ours: Any) -> Any:
        way = self.decide(joined(path))
        if way is not None:
            self.settle(path, theirs)
            return ours if way == "keep" else theirs if before is ABSENT else overlay(before, theirs)
        reason = "an expert removed it" if ours is ABSENT else "an expert wrote it otherwise"
        self.outcome.conflicts.append(Conflict(joined(path), reason, *(None if one is ABSENT else one for one in (before, theirs, ours))))
        return ours

    def make_room(self, ours: Tree) -> None:
        """Takes out again what a handbook's bounds do not allow, last proposed first; that is left to the expert too."""
        had = ours.get("dimensions", {})
        dimensions = self.outcome.tree.get("dimensions", {})
        for name in list(dimensions):
            path = ("dimensions", name)
            examples = dimensions[name].get("examples", {})
            fresh = [en for en in examples if en not in had.get(name, {}).get("examples", {})]
            for en in fresh[::-1][: max(len(examples) - EXAMPLES_MOST, 0)]:
                self.leave((*path, "examples", en), examples.pop(en), f"{name} has {EXAMPLES_MOST} examples already")
            if name not in had and not {"name", "description"} <= dimensions[name].keys():
                self.leave(path, dimensions.pop(name), "a new dimension needs a name and a description")
            elif name not in had and len(examples) < EXAMPLES_LEAST:
                self.leave(path, dimensions.pop(name), f"a new dimension needs {EXAMPLES_LEAST} examples")
        for name in [name for name in dimensions if name not in had][::-1][: max(len(dimensions) - DIMENSIONS_MOST, 0)]:
            self.leave(("dimensions", name), dimensions.pop(name), f"there are {DIMENSIONS_MOST} dimensions already")

    def leave(self, path: Path_, value: Any, reason: str) -> None:
        if self.decide(joined(path)) == "keep":
            return
        inner = self.outcome.settled
        for key in path[:-1]:
            inner = inner.get(key, {})
        inner.pop(path[-1], None)
        self.outcome.conflicts.append(Conflict(joined(path), reason, None, value, None))

    def settle(self, path: Path_, value: Any) -> None:
        inner = self.outcome.settled
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = copy.deepcopy(value)


def _at(tree: Any, key: str) -> Any:
    return tree.get(key, ABSENT) if isinstance(tree, dict) else ABSENT


def _both(below: Any, above: Any) -> Any:
    return below if above is ABSENT else above if below is ABSENT else overlay(below, above)


def _covers(before: Any, theirs: Any) -> bool:
    """Whether a proposal holds nothing that was not there before."""
    if isinstance(before, dict) and isinstance(theirs, dict):
        return all(key in before and _covers(before[key], value) for key, value in theirs.items())
    return bool(before is not ABSENT and before == theirs)
