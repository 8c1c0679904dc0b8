"""Where a handbook's entries come from: beside the files, in ``provenance/<category>.json``, which no reader of the handbook looks at.

It remembers everything that expansions proposed and everything that the file was seen to hold, so that a merge can tell an expert's removal
from what was never there; and the file's versions.
"""

import hashlib
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from offline.handbook.tree import Tree
from schemas.errors import BadSetting

DIRECTORY = "provenance"
Cause = Literal["found", "edit", "expansion"]


class Source(Struct, frozen=True, kw_only=True):
    """What proposed: ``request``: digest of the request, as recordings have it; ``handbook``: version expanded; ``at``: epoch ms."""

    model: str
    prompt: str
    request: str
    handbook: str
    at: int


class Entry(Struct, frozen=True, kw_only=True):
    """A state of the file. ``cause``: ``found`` at the first merge, an expert's ``edit`` seen at a merge, an ``expansion`` merged;
    ``at``: epoch ms; ``counts``: of what it holds and of what changed from the state before."""

    version: int
    cause: Cause
    at: int
    by: str
    why: str
    digest: str
    counts: dict[str, int]
    source: Source | None = None


class Provenance(Struct, kw_only=True):
    """``proposed``: all that expansions proposed and that was decided on; ``known``: all that the file ever held; both as trees."""

    category: str
    proposed: Tree = field(default_factory=dict)
    known: Tree = field(default_factory=dict)
    history: list[Entry] = field(default_factory=list)


def provenance_path(directory: Path, category: str) -> Path:
    """The sidecar of a category's file."""
    return directory / DIRECTORY / f"{category}.json"


def read_provenance(directory: Path, category: str) -> Provenance:
    """A category's provenance; an empty one where there is none yet.

    Raises:
        BadSetting: when the sidecar is none.
    """
    path = provenance_path(directory, category)
    if not path.is_file():
        return Provenance(category=category)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Provenance)
    except msgspec.DecodeError as error:
        raise BadSetting(f"{path}: {error}; take it from version control again, or delete it to lose the history") from None


def provenance_text(provenance: Provenance) -> str:
    """The sidecar's content, a line an entry, so that it can be read and compared as text."""
    return msgspec.json.format(msgspec.json.encode(provenance), indent=1).decode() + "\n"


def tree_digest(tree: Tree) -> str:
    """Digest of a category's content; the order of its entries counts."""
    return hashlib.blake2b(msgspec.json.encode(tree), digest_size=8).hexdigest()


def tree_counts(tree: Tree) -> dict[str, int]:
    """How many dimensions, examples and cues."""
    dimensions: list[dict[str, Any]] = list(tree.get("dimensions", {}).values())
    return {"dimensions": len(dimensions)} | {name: sum(len(one.get(name, ())) for one in dimensions) for name in ("examples", "cues")}


def history_of(directory: Path, category: str) -> list[Entry]:
    """The states of a category's file, oldest first."""
    return read_provenance(directory, category).history


def now_ms() -> int:
    return time.time_ns() // 1_000_000
