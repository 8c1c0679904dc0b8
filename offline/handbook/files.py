"""A category's file: read as it stands, and written so that what did not change keeps its text, its comments with it."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from models.handbook import HANDBOOK_DIR, SHARED, CategoryHandbook
from offline.handbook.tree import Tree, from_tree, to_tree
from offline.handbook.validate import LOADER, file_faults
from schemas.errors import BadSetting
from schemas.events import CATEGORIES

WIDTH = 160
DIMENSIONS = "dimensions"
_VERSION = re.compile(r"^version: *\d+", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#")


class BookFile(Struct, frozen=True):
    """A category's file. ``head``: the text before the first dimension; ``blocks``: each dimension's text by id."""

    path: Path
    version: int
    category: str
    tree: Tree
    head: str
    blocks: dict[str, str]


def read_book(path: Path) -> BookFile:
    """Reads and checks a file.

    Raises:
        BadSetting: naming the file and the first fault; ``validate_handbook`` names all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadSetting(f"{path}: cannot be read ({error.strerror}); give a handbook's directory, such as {HANDBOOK_DIR.name}/") from None
    raw = checked(path, text)
    lines = text.splitlines(keepends=True)
    starts = _starts(text)
    ends = [*starts[1:], len(lines)]
    blocks = {one["id"]: "".join(lines[start:end]) for one, start, end in zip(raw[DIMENSIONS], starts, ends, strict=True)}
    return BookFile(path, raw["version"], raw["category"], to_tree(raw), "".join(lines[: starts[0]]), blocks)


def book_text(book: BookFile, tree: Tree, version: int) -> tuple[str, int]:
    """The file's text with another content, and how many lines with comments it lost. Text of what stays the same is kept as it is."""
    before, after = (from_tree(one, version, book.category) for one in (book.tree, tree))
    was = {one["id"]: one for one in before[DIMENSIONS]}
    if _rest(before) == _rest(after) and not _trailing_key(book):
        head = _VERSION.sub(f"version: {version}", book.head, count=1)
    else:
        opening = re.match(r"(?:\s*#.*\n)*", book.head)
        head = (opening.group() if opening else "") + _flow(_rest(after)) + f"{DIMENSIONS}:\n"
    blocks = [book.blocks[one["id"]] if was.get(one["id"]) == one else dimension_text(one) for one in after[DIMENSIONS]]
    text = head + "".join(block if block.endswith("\n") else block + "\n" for block in blocks)
    return text, max(_comments(book.head + "".join(book.blocks.values())) - _comments(text), 0)


def dimension_text(raw: dict[str, Any]) -> str:
    """A dimension in the style of the files: one field a line, mappings and lists in braces, a concept a line."""
    text = ""
    for key, value in raw.items():
        if key == "concepts":
            text += "concepts:\n" + "".join(f"- {_line(one)}\n" for one in value)
        else:
            text += _flow({key: value})
    return "- " + "\n  ".join(text.rstrip("\n").split("\n")) + "\n"


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One writer of a handbook at a time; others wait. What a directory that is not there means is for its reader to say."""
    if not directory.is_dir():
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def checked(path: Path, text: str) -> dict[str, Any]:
    """The content of a category's file if it is valid.

    Raises:
        BadSetting: naming the file and the field.
    """
    faults, raw = file_faults(path.name, text, path.stem)
    if faults:
        more = f" (and {len(faults) - 1} more: tagstream offline handbook validate)" if len(faults) > 1 else ""
        raise BadSetting(f"{path}: {faults[0].field}: {faults[0].reason}{more}")
    msgspec.convert(raw, CategoryHandbook)
    assert isinstance(raw, dict)
    return raw


def book_paths(directory: Path) -> dict[str, Path]:
    """Where each category's file and the shared one are, or should be."""
    return {name: directory / f"{name}.yaml" for name in (*CATEGORIES, SHARED)}


def _starts(text: str) -> list[int]:
    """The line on which each dimension begins."""
    root = yaml.compose(text, Loader=LOADER)
    assert isinstance(root, yaml.MappingNode)
    (dimensions,) = (value for key, value in root.value if key.value == DIMENSIONS)
    lines = [item.start_mark.line for item in dimensions.value]
    if dimensions.flow_style or len(set(lines)) < len(lines):
        return [len(text.splitlines())] * len(lines)
    return lines


def _trailing_key(book: BookFile) -> bool:
    """Whether dimensions stand in a way that blocks cannot be cut from: in braces, or with a field after them."""
    last = "".join(list(book.blocks.values())[-1:])
    return not all(block.startswith("- ") for block in book.blocks.values()) or bool(re.search(r"^[a-z_]+:", last, re.MULTILINE))


def _rest(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key != DIMENSIONS}


def _flow(value: dict[str, Any]) -> str:
    return "".join(
        _dump({key: one}, width=WIDTH, style=None) if isinstance(one, dict | list) else _dump({key: one}, width=1_000_000, style=False)
        for key, one in value.items()
    )


def _dump(value: dict[str, Any], *, width: int, style: bool | None) -> str:
    return str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=width, default_flow_style=style))


def _line(value: dict[str, Any]) -> str:
    return _dump(value, width=1_000_000, style=True).strip()


def _comments(text: str) -> int:
    return sum(1 for line in text.splitlines() if _COMMENT.search(line))


def draft_text(raw: dict[str, Any]) -> str:
    """A draft in the style of the files."""
    return _flow(_rest(raw)) + (
        f"{DIMENSIONS}:\n" + "".join(map(dimension_text, raw[DIMENSIONS])) if raw[DIMENSIONS] else f"{DIMENSIONS}: []\n"
    )


def report_text(raw: dict[str, Any]) -> str:
    """A mapping as YAML with a field a line, to be read by people."""
    return _dump(raw, width=1_000_000, style=False)
