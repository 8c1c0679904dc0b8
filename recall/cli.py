"""``tagstream profile`` and ``tagstream recall``."""

import re
import sys
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from recall.channels import CHANNELS, DEFAULT_CHANNELS
from recall.learned_channels import LEARNED
from schemas.events import ID_MAX_BYTES
from schemas.settings import load

if TYPE_CHECKING:
    from recall.query import Query

TIME_MAX_MS = 253_402_300_799_999
UNIT_MS = {"s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Identifier(click.ParamType):
    """An id as events carry it: UTF-8, 1 to 256 bytes."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            self.fail("it is not UTF-8; give the id as the events carry it", param, ctx)
        if not 1 <= size <= ID_MAX_BYTES:
            self.fail(f"it has {size} bytes; an id has 1 to {ID_MAX_BYTES}", param, ctx)
        return value


class Age(click.ParamType):
    """A duration such as ``24h`` in milliseconds; ``all`` is None for ``Query.fresh_within_ms``, kept as -1 on the way through click."""

    name = "duration"
    ALL = -1

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "all":
            return self.ALL
        parts = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(s|m|min|h|d|w)", value)
        if parts is None:
            self.fail(f"{value!r} is no duration; write all, or a number and a unit: 90s, 30m, 24h, 2d, 1w", param, ctx)
        return round(float(parts[1]) * UNIT_MS[parts[2]])


class ChannelNames(click.ParamType):
    """Channel names joined by commas."""

    name = "A,B"

    def convert(self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(","))
        unknown = [name for name in names if name not in (*CHANNELS, *LEARNED)]
        if unknown:
            self.fail(f"{unknown[0]!r} is no channel; choose among {', '.join((*CHANNELS, *LEARNED))}", param, ctx)
        return tuple(dict.fromkeys(names))


MOMENT = click.IntRange(min=0, max=TIME_MAX_MS)
AS_OF = click.option("--as-of", type=MOMENT, metavar="MS", help="The moment asked about, epoch milliseconds; default is now.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
DATA = click.option("--data", metavar="DIR", help="Directory of the local stack; default .tagstream.")
K = click.option("-k", type=click.IntRange(min=1, max=10_000), default=20, show_default=True, help="Notes to return.")
FRESH_WITHIN = click.option(
    "--fresh-within", type=Age(), default="24h", show_default=True, help="Greatest age of a note: 90s, 30m, 3h, 2d, 1w or all."
)
CHANNELS_ASKED = click.option(
    "--channels",
    type=ChannelNames(),
    show_default=f"{','.join(DEFAULT_CHANNELS)}, after the live bundle's learned ones, or those it gives a merge weight",
    help=f"Candidate sources, of {', '.join((*CHANNELS, *LEARNED))}.",
)


@click.command(epilog="Example: tagstream profile u-17 -k 10")
@click.argument("user", type=Identifier())
@AS_OF
@click.option("-k", type=click.IntRange(min=1), default=50, show_default=True, help="Tags to print.")
@JSON
@DATA
def profile(user: str, as_of: int | None, k: int, as_json: bool, data: str | None) -> None:
    """Show a reader's profile: tags by score, highest first."""
    from recall.build import open_readers
    from recall.reader import KnownNotes, read_reader, view_profile

    settings = load(data=data)
    profiles, notes, _ = open_readers(settings)
    moment = time.time_ns() // 1_000_000 if as_of is None else as_of
    found = view_profile(read_reader(user, moment, profiles, KnownNotes(notes), settings), moment, k)
    if as_json:
        print_json(found)
        return
    from recall.views import show_profile

    show_profile(console(), found)


@click.command(epilog="Example: tagstream recall u-17 --fresh-within 24h --explain")
@click.argument("user", type=Identifier())
@K
@FRESH_WITHIN
@AS_OF
@CHANNELS_ASKED
@click.option("--explain", is_flag=True, help="Say which tags of the profile met which tags of the note, and why they are in the profile.")
@click.option("--spend", "serving", is_flag=True, help="The answer is shown to the reader: new notes in it spend their exploration budget.")
@JSON
@DATA
def recall(user: str, as_json: bool, data: str | None, **asked: Any) -> None:
    """Recall fresh notes for a reader."""
    from recall import query
    from recall.build import open_live

    if asked["serving"] and asked["as_of"] is not None:
        raise click.UsageError("--spend is for an answer that is shown now; leave out --as-of")
    settings = load(data=data)
    question = query_of(user, **asked)
    answer = query.recall(question, *open_live(settings))
    if as_json:
        print_json(answer)
        return
    from recall.views import show_recalled

    show_recalled(console(), question, answer)


def query_of(user: str, fresh_within: int, **asked: Any) -> "Query":
    """The query that the options ask."""
    from recall.query import Query

    return Query(user_id=user, fresh_within_ms=None if fresh_within == Age.ALL else fresh_within, **asked)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")


def console() -> Any:
    """Where a person reads."""
    from rich.console import Console

    return Console(highlight=False)
