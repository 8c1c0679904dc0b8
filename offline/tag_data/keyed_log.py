"""A file that grows by what is finished, so that a run that was killed goes on where it was."""

from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")


class _Line(Struct, frozen=True):
    key: str
    value: Any


class _Key(Struct, frozen=True):
    key: str


class KeyedLog(Generic[T]):
    """Values by key in an append-only file of JSON lines. A line that a kill left torn is cut off; memory holds only keys and places.

    Args:
        path: made where it is absent.
        kind: of the values.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._kind = kind
        self._places: dict[str, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._end = 0
        self._file.seek(0)
        decode = msgspec.json.Decoder(_Key).decode
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self._places[decode(line).key] = self._end
            self._end += len(line)
        self._file.truncate(self._end)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: str) -> T:
        self._file.seek(self._places[key])
        return msgspec.convert(msgspec.json.decode(self._file.readline(), type=_Line).value, self._kind)

    def add(self, key: str, value: T) -> None:
        """Appends; it outlives the process when this returns."""
        line = msgspec.json.encode(_Line(key, value)) + b"\n"
        self._file.write(line)  # "a": at the end, wherever it was read
        self._file.flush()
        self._places[key] = self._end
        self._end += len(line)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
