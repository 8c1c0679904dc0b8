"""``tagstream tag``: what the tagger says about the notes of a file, without any server."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec.structs import replace

from models.build import TAGGERS
from models.phrases import PRODUCT_SPAN
from models.roles import NoteTags, Tagger
from schemas.codec import decoder
from schemas.errors import BundleMismatch, InvalidEvent
from schemas.events import Evidence, NoteEvent, Tag
from schemas.settings import Settings, load
from streams.publishing import Line, Rejected, read_lines

if TYPE_CHECKING:
    from rich.text import Text

    from consumers.media.opener import MediaOpener
    from models.bundle import Learned

BATCH = 32
AROUND = 24
MEDIA = ("image", "video", "audio")


class TaggedLine(msgspec.Struct, frozen=True):
    """One line of output, in the order of the file."""

    note_id: str
    category: str | None
    tags: list[Tag]
    degraded: list[str]


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--tagger", "name", type=click.Choice(TAGGERS), help="Which tagger; default: that of the settings.")
@click.option("--bundle", help="The bundle to tag with: a directory, or a version in the data directory or in force already.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, one per note event.")
def tag(file: str, name: str | None, bundle: str | None, as_json: bool) -> None:
    """Tags the note events of a file of JSON lines; '-' reads standard input. Needs no server but the endpoint of that tagger.

    A bundle brings its tagger, handbook and transcriber; without one, the settings say. Images, videos and voices are opened where the
    tagger makes use of them and the media settings allow it. One answer per event, in order; a deleted note gets no tags. Lines that are no
    valid events are named on stderr and left out.

    Example: tagstream tag notes.jsonl --bundle .tagstream/bundles/b0123456789 --json
    """
    from consumers.media.opener import opener_for

    settings = _of_bundle(load(tagger=name), bundle)
    made = _open(settings, bundle)
    rejected: list[Rejected] = []
    with ExitStack() as stack:
        opener = opener_for(made, settings)
        if opener is not None:
            stack.callback(opener.close)
        for note, answer in _answers(made.tagger, opener, _opened(file), rejected):
            if as_json:
                click.echo(msgspec.json.encode(TaggedLine(note.note_id, answer.category, answer.tags, answer.degraded)))
            else:
                _show(note, answer)
    for line in rejected:
        click.echo(f"line {line.line}: {line.field}: {line.reason}", err=True)
    if rejected:
        sys.exit(1)


def _of_bundle(settings: Settings, wanted: str | None) -> Settings:
    """The settings with the directory of the bundle that is wanted, where it is one or is found by its version."""
    from recall.live_bundle import find_bundle

    if wanted is None:
        return settings
    directory = Path(wanted) if Path(wanted).is_dir() else find_bundle(settings, wanted)
    return settings if directory is None else replace(settings, bundle=str(directory))


def _open(settings: Settings, wanted: str | None) -> "Learned":
    from models.bundle import load_learned
    from recall.live_bundle import BUNDLES

    made = load_learned(settings)
    if wanted is not None and not Path(wanted).is_dir() and wanted != made.version:
        here = f"TAGSTREAM_BUNDLE holds bundle {made.version}" if settings.bundle else f"the settings here make bundle {made.version}"
        raise BundleMismatch(f"{here}, not {wanted}, which {Path(settings.data, BUNDLES)} does not hold; give --bundle its directory")
    return made


def _opened(file: str) -> Iterator[Line]:
    if file == "-":
        yield from read_lines(sys.stdin.buffer)
        return
    try:
        with Path(file).open("rb") as opened:
            yield from read_lines(opened)
    except OSError as error:
        raise click.BadParameter(f"{file}: {error.strerror}; give a file of JSON lines or '-'", param_hint="FILE") from None


def _answers(
    tagger: Tagger, opener: "MediaOpener | None", lines: Iterator[Line], rejected: list[Rejected]
) -> Iterator[tuple[NoteEvent, NoteTags]]:
    notes = _notes(lines, rejected)
    while batch := list(islice(notes, BATCH)):
        yield from zip(batch, tagger.tag(batch, None if opener is None else opener.open(batch)), strict=True)


def _notes(lines: Iterator[Line], rejected: list[Rejected]) -> Iterator[NoteEvent]:
    decode = decoder(NoteEvent)
    for line in lines:
        try:
            if line.value is None:
                raise InvalidEvent("$", "the line is longer than an event may be")
            value = line.value.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.value
            if value.strip():
                yield decode(value, None)
        except InvalidEvent as error:
            rejected.append(Rejected(line.number, error.field, error.reason))


def _show(note: NoteEvent, answer: NoteTags) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    heading = Text.assemble(
        (printable(note.note_id), "bold"), f"  {answer.category or 'no category'}  ", (printable(note.title)[:100], "dim")
    )
    console.print(heading)
    for lack in answer.degraded:
        console.print(Text(f"  without {printable(lack)}", style="yellow"))
    table = Table("#", "tag", "dimension", "confidence", "evidence", box=None, header_style="dim", padding=(0, 1))
    for one in answer.tags:
        filled = round(one.confidence * 10)
        bar = Text.assemble(("█" * filled, "green"), ("░" * (10 - filled), "dim"), f" {one.confidence:.2f}")
        table.add_row(str(one.rank), Text(one.text, style="bold"), one.dimension, bar, _quote(note, one))
    console.print(
        table if answer.tags else Text("  no tags: the note is deleted" if note.type == "note.deleted" else "  no tags", style="dim")
    )
    console.print()


def _quote(note: NoteEvent, one: Tag) -> "Text":
    """The first piece of evidence with its surroundings, the tag's place in it highlighted."""
    from rich.text import Text

    if not one.evidence:
        return Text("")
    if one.evidence[0].source in MEDIA:
        return Text(_place(one.evidence[0]), style="dim")
    source, position = evidence_text(note, one.evidence[0])
    begin = max(0, position - AROUND)
    quote = Text(f"{one.evidence[0].source}: ", style="dim")
    quote.append(printable(source[begin:position]))
    quote.append(printable(source[position : position + len(one.text)]), style="bold yellow")
    quote.append(printable(source[position + len(one.text) : position + len(one.text) + AROUND]))
    return quote


def _place(evidence: Evidence) -> str:
    """Where in a medium: the image's number, or the time in sound and video."""
    if evidence.source == "image":
        return f"image {evidence.position + 1}"
    return f"{evidence.source} at {evidence.position // 60_000}:{evidence.position // 1000 % 60:02}"


def evidence_text(note: NoteEvent, evidence: Evidence) -> tuple[str, int]:
    """The text that a piece of textual evidence points into, and the offset in it."""
    if evidence.source == "product":
        product = note.products[evidence.position // PRODUCT_SPAN]
        return " ".join((product.name, product.brand, product.description)), evidence.position % PRODUCT_SPAN
    return (note.title if evidence.source == "title" else note.body), evidence.position


def printable(text: str) -> str:
    """Untrusted text fit for a terminal: control and format characters become spaces."""
    return "".join(character if character.isprintable() else " " for character in text)
