"""Files of JSON lines, read and written one record at a time."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from offline.whole_file import whole_file
from schemas.errors import BadSetting, MissingPrerequisite

T = TypeVar("T", bound=Struct)


def read_records(path: Path, kind: type[T], remedy: str) -> Iterator[T]:
    """The records of a file.

    Raises:
        MissingPrerequisite: when the file is absent; says ``remedy``.
        BadSetting: naming the line that is no such record.
    """
    if not path.is_file():
        raise MissingPrerequisite(f"{path} is missing; {remedy}")
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield decode(line)
            except msgspec.DecodeError as error:
                raise BadSetting(f"{path}: line {number}: {error}") from None


@contextmanager
def record_writer(path: Path) -> Iterator[Callable[[Any], None]]:
    """A function that adds a record to a file; the file appears under its name when the block ends."""
    encode = msgspec.json.Encoder().encode
    with whole_file(path) as part, part.open("wb") as file:

        def add(record: Any) -> None:
            file.write(encode(record) + b"\n")

        yield add


def write_records(path: Path, records: Iterable[Any]) -> int:
    """Writes a file whole, or leaves the one before; returns how many records it has."""
    count = 0
    with record_writer(path) as add:
        for record in records:
            add(record)
            count += 1
    return count
