"""``tagstream offline tag-data extract``."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.bundle import find_transcriber, transcriber_version
from models.handbook import load_handbook
from offline.chat.client import ChatClient, ChatSpec
from offline.chat.options import chat_options
from offline.run_manifest import read_manifest, run_manifest
from offline.tag_data.extract_tags import Counts, ExtractRun, Opener
from offline.tag_data.extraction import Extraction
from offline.tag_data.extraction_prompts import prompt_version
from schemas.codec import decoder
from schemas.errors import BadSetting, InvalidEvent
from schemas.events import NoteEvent
from schemas.settings import Settings, load
from streams.publishing import Rejected, read_lines

COMMAND = "tagstream offline tag-data extract"


class Choice(Struct, frozen=True, kw_only=True):
    """What a run was told beside the endpoint's options."""

    out: Path
    limit: int | None
    max_tags: int
    image_side: int
    with_media: bool


@click.command("extract")
@click.argument("notes", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory for samples, steps, failures.")
@chat_options
@click.option("--limit", type=click.IntRange(min=1), help="Only the first notes.")
@click.option("--max-tags", type=click.IntRange(min=1), default=10, show_default=True, help="Tags of a sample at most.")
@click.option("--image-side", type=click.IntRange(min=28), help="Longer side of a picture sent, pixels; default: that of the settings.")
@click.option("--media/--no-media", "with_media", default=True, show_default=True, help="Whether the notes' media are opened.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def extract(
    *,
    notes: Path,
    out: Path,
    chat: ChatSpec,
    recordings: Path | None,
    limit: int | None,
    max_tags: int,
    image_side: int | None,
    with_media: bool,
    as_json: bool,
) -> None:
    """Has a teacher tag the note events of a file of JSON lines, in the four steps of the paper, and writes samples to learn from.

    Media are opened as the settings say, as online, and once. Run it again with the same arguments to go on after a stop or a kill: nothing
    is opened or paid for twice. OUT gets samples.jsonl, steps.jsonl (what the teacher answered), failures.jsonl and manifest.json.

    Example: tagstream offline tag-data extract notes.jsonl --out runs/tag-data --endpoint http://127.0.0.1:8000/v1 --model teacher
    """
    settings = load()
    choice = Choice(out=out, limit=limit, max_tags=max_tags, image_side=image_side or settings.endpoint_image_side, with_media=with_media)
    rejected: list[Rejected] = []
    with ExitStack() as stack:
        client = stack.enter_context(ChatClient(chat, recordings or out / "recordings"))
        versions = _versions(chat, choice, settings)
        _check(out, versions)
        given = {"notes": notes, "chat": chat, **msgspec.structs.asdict(choice)}
        manifest = stack.enter_context(run_manifest(out, COMMAND, given, versions, lambda: client.spent))
        opener = stack.enter_context(_opener(settings)) if with_media else None
        advance = stack.enter_context(_progress(_count(notes, limit), client))
        run = ExtractRun(out, client, Extraction(load_handbook(), max_tags, choice.image_side), opener, advance)
        counts = run.run(islice(_events(notes, rejected), limit))
        manifest.counts = {**_numbers(counts), "rejected": len(rejected)}
        if run.stopped is not None:
            manifest.reason = str(run.stopped)
        document = {**msgspec.to_builtins(counts), "rejected": msgspec.to_builtins(rejected), "spent": msgspec.to_builtins(client.spent)}
    _report(counts, rejected, out, document if as_json else None)
    if run.stopped is not None:
        click.echo(f"stopped: {run.stopped}; run it again to go on", err=True)
    sys.exit(1 if counts.again or counts.not_reached or rejected else 0)


def _versions(chat: ChatSpec, choice: Choice, settings: Settings) -> dict[str, str]:
    """Whatever changes a sample."""
    media = f"{settings.media_images} images, {settings.media_sampler}" if choice.with_media else "none"
    return {
        "model": chat.model, "prompt": prompt_version(), "handbook": load_handbook().version, "max_tags": str(choice.max_tags),
        "image_side": str(choice.image_side), "media": media,
        "transcriber": (transcriber_version(settings) or "none") if choice.with_media else "none",
    }  # fmt: skip


def _check(out: Path, versions: dict[str, str]) -> None:
    """Refuses to mix samples that were made in different ways."""
    before = read_manifest(out)
    if before is None:
        return
    for name, version in versions.items():
        was = before.versions.get(name)
        if was != version:
            raise BadSetting(f"--out {out}: was begun with {name} {was}, this run has {version}; give another directory or the same {name}")


@contextmanager
def _opener(settings: Settings) -> Iterator[Opener]:
    from consumers.media.opener import open_opener
    from consumers.media.senses import Senses

    transcriber = find_transcriber(settings)
    with open_opener(settings, Senses(sees=True, hears=transcriber is not None), transcriber) as opener:
        yield opener


def _events(path: Path, rejected: list[Rejected]) -> Iterator[NoteEvent]:
    """The note events of a file that are no deletions; lines that are none go into ``rejected``."""
    decode = decoder(NoteEvent)
    with path.open("rb") as file:
        for line in read_lines(file):
            try:
                if line.value is None:
                    raise InvalidEvent("$", "the line is longer than an event may be")
                value = line.value.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.value
                if value.strip() and (event := decode(value, None)).type != "note.deleted":
                    yield event
            except InvalidEvent as error:
                rejected.append(Rejected(line.number, error.field, error.reason))


def _count(path: Path, limit: int | None) -> int:
    try:
        with path.open("rb") as file:
            lines = sum(1 for line in file if line.strip())
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}; give a file of JSON lines", param_hint="NOTES") from None
    return min(lines, limit) if limit else lines


@contextmanager
def _progress(total: int, client: ChatClient) -> Iterator[Callable[[], None]]:
    """Notes done with rate, time left and what was spent so far."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[spent]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("notes", total=total, rate="", spent="")

        def advance() -> None:
            spent, speed = client.spent, progress.tasks[0].speed
            cost = f", ${spent.cost:.2f}" if spent.cost is not None else ""
            tokens = f"{spent.prompt_tokens + spent.completion_tokens:,} tokens{cost}, {spent.recorded:,} recorded"
            progress.update(task, advance=1, rate=f"{60 * speed:.1f} a minute" if speed else "", spent=tokens)

        yield advance


def _numbers(counts: Counts) -> dict[str, int | float]:
    return {name: value for name, value in msgspec.structs.asdict(counts).items() if isinstance(value, int)}


def _report(counts: Counts, rejected: list[Rejected], out: Path, document: dict[str, Any] | None) -> None:
    for line in rejected:
        click.echo(f"line {line.line}: {line.field}: {line.reason}", err=True)
    for reason, count in counts.reasons.items():
        click.echo(f"{count:,} notes failed: {reason}", err=True)
    if document is not None:
        click.echo(msgspec.json.encode(document).decode())
        return
    left = f", {counts.not_reached:,} not reached" if counts.not_reached else ""
    click.echo(f"{counts.samples:,} samples with {counts.tags:,} tags of {counts.notes:,} notes{left} in {out}", err=True)
