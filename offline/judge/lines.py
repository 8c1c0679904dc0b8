"""Judgements as JSON lines that a killed run goes on from: nothing is judged twice, nothing that was judged is lost."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from offline.json_lines import write_records
from schemas.errors import BadSetting


class Line(Protocol):
    """``key`` names everything that a judgement depends on: the judge's version, the sample, the answers."""

    @property
    def key(self) -> str:
        """Unique among what is asked."""
        ...


A = TypeVar("A")
L = TypeVar("L", bound=Line)


def judged(
    path: Path,
    kind: type[L],
    asked: Mapping[str, A],
    ask: Callable[[Sequence[A]], Sequence[L]],
    *,
    chunk: int,
    advance: Callable[[int], None],
) -> list[L]:
    """The lines of all that is asked, in that order; the file holds exactly these in the end.

    Args:
        path: the file; lines that it holds already are not asked for again.
        kind: of a line.
        asked: by key.
        ask: one line for each of what it is given, in order.
        chunk: how many are asked at once; as many are asked again after a kill.
        advance: called with how many have become ready.

    Raises:
        BadSetting: naming the line of the file that is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ready = {line.key: line for line in read_lines(path, kind) if line.key in asked} if path.exists() else {}
    advance(len(ready))
    missing = [key for key in asked if key not in ready]
    encode = msgspec.json.Encoder().encode
    with path.open("ab") as file:
        for start in range(0, len(missing), chunk):
            keys = missing[start : start + chunk]
            lines = ask([asked[key] for key in keys])
            file.writelines(encode(line) + b"\n" for line in lines)
            file.flush()
            ready |= dict(zip(keys, lines, strict=True))
            advance(len(keys))
    found = [ready[key] for key in asked]
    write_records(path, found)
    return found


def read_lines(path: Path, kind: type[L]) -> list[L]:
    """The lines of a file. The beginning of one at its end, as a kill leaves it, is cut off.

    Raises:
        BadSetting: naming the line that is none.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    decode = msgspec.json.Decoder(kind).decode
    lines = []
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            lines.append(decode(line))
        except msgspec.DecodeError as error:
            raise BadSetting(f"{path}: line {number}: {error}; remove the file to judge anew") from None
    return lines
