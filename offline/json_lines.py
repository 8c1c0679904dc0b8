"""Files of JSON lines, read one record at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

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
