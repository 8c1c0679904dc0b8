"""Files and directories that appear under their name when they are whole, so that a killed command leaves what was before, or nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden file beside ``path`` to write to, of the same suffix, which takes its name at the end of the block.

    It is deleted when the block fails; after a kill it stays until ``path`` is written the next time. A path has one writer at a time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A hidden empty directory beside ``path``, which takes its name at the end of the block, when nothing may have that name.

    It is deleted when the block fails; after a kill it stays until ``path`` is written the next time. A path has one writer at a time.
    """
    part = path.with_name(f".part-{path.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes all of a file; text as UTF-8."""
    with whole_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any) -> None:
    """Writes a document for people to read: indented, with a line break at its end."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
