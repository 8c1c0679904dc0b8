"""``tagstream offline simulate notes|interactions|dataset``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from offline.simulate.draws import SEED_MAX
from offline.simulate.interactions import SESSIONS_EACH, interactions
from offline.simulate.notes import NOTES_A_DAY, START_MS, Community
from offline.simulate.voice import REMEDY
from offline.simulate.write import Advance, Written, write_dataset, write_interactions, write_notes

FILE_OR_STDOUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
NEWEST_START_MS = 4_000_000_000_000


def community_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which community it is."""
    options = (
        click.option("--notes", type=click.IntRange(1, 10_000_000), default=1000, show_default=True, help="How many notes there are."),
        click.option("--seed", type=click.IntRange(0, SEED_MAX), default=7, show_default=True, help="Which community."),
        click.option(
            "--start",
            type=click.IntRange(0, NEWEST_START_MS),
            default=START_MS,
            show_default=True,
            help="Epoch ms at which the first note is published.",
        ),
        click.option("--notes-a-day", type=click.IntRange(min=1), default=NOTES_A_DAY, show_default=True, help="How dense they follow."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def reader_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say who reads."""
    for option in (
        click.option("--sessions", type=click.FloatRange(min=0), default=SESSIONS_EACH, show_default=True, help="Sessions a reader has."),
        click.option("--users", type=click.IntRange(min=1), default=200, show_default=True, help="How many readers there are."),
    ):
        command = option(command)
    return command


@click.command("notes")
@community_options
@click.option("--out", type=FILE_OR_STDOUT, default="-", show_default="stdout", help="File for the note events.")
@click.option("--truth", type=click.Path(path_type=Path, dir_okay=False), help="File for the truths; by default OUT with .truth.jsonl.")
@click.option("--media", type=click.Path(path_type=Path, file_okay=False), help="Draw pictures, clips and voices into this directory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; needs --out FILE.")
def notes_command(
    *, notes: int, seed: int, start: int, notes_a_day: int, out: Path, truth: Path | None, media: Path | None, as_json: bool
) -> None:
    """Writes note events as JSON lines for `tagstream publish notes`, and what is true of each.

    The same seed gives the same notes on every machine, and the first notes of a larger number are those of a smaller one.
    Without --media the notes are words alone; their truth still says what pictures, clip and voice would tell.

    Example: tagstream offline simulate notes --notes 100000 | tagstream publish notes -
    """
    target = _target(out, as_json)
    if truth is None and target:
        truth = target.with_name(f"{target.name.removesuffix('.jsonl')}.truth.jsonl")
    community = Community(seed, start, notes_a_day)
    with _progress("notes", notes) as advance:
        written = write_notes(community.notes(notes), target, truth, media, advance)
    if written.without_voice:
        click.echo(f"{written.without_voice} notes go without their voice: {REMEDY}", err=True)
    _report(written, as_json)


@click.command("interactions")
@community_options
@reader_options
@click.option("--out", type=FILE_OR_STDOUT, default="-", show_default="stdout", help="File for the interactions.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; needs --out FILE.")
def interactions_command(
    *, notes: int, seed: int, start: int, notes_a_day: int, users: int, sessions: float, out: Path, as_json: bool
) -> None:
    """Writes what readers did with those notes as JSON lines for `tagstream publish interactions`, in order of time.

    Give --notes, --seed, --start and --notes-a-day as for the notes. offline/simulate/choice.py states how readers decide.

    Example: tagstream offline simulate interactions --notes 100000 --users 5000 | tagstream publish interactions -
    """
    target = _target(out, as_json)
    with _progress("interactions", None) as advance:
        written = write_interactions(interactions(Community(seed, start, notes_a_day), notes, users, sessions), target, advance)
    _report(written, as_json)


@click.command("dataset")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@community_options
@reader_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def dataset_command(
    *, directory: Path, notes: int, seed: int, start: int, notes_a_day: int, users: int, sessions: float, as_json: bool
) -> None:
    """Writes notes.jsonl (with the true tags), interactions.jsonl and truth.jsonl into DIRECTORY, for `evaluate-recall`.

    Example: tagstream offline simulate dataset runs/sim --notes 3000 --users 500 && tagstream offline evaluate-recall runs/sim
    """
    with _progress("lines", None) as advance:
        written = write_dataset(Community(seed, start, notes_a_day), directory, notes, users, advance, sessions_each=sessions)
    _report(written, as_json)


def _target(out: Path, as_json: bool) -> Path | None:
    """Where to write; None is standard output, which then has no room for a report."""
    if str(out) != "-":
        return out
    if as_json:
        raise click.UsageError("--json prints its document on stdout: give --out FILE with it")
    return None


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def _report(written: Written, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(written).decode())
        return
    parts = [f"{written.notes:,} notes" if written.notes else "", f"{written.interactions:,} interactions" if written.interactions else ""]
    parts += [f"{getattr(written, kind):,} {kind}" for kind in ("images", "clips", "voices") if getattr(written, kind)]
    where = f" in {', '.join(written.files)}" if written.files else ""
    click.echo(f"{', '.join(part for part in parts if part)}{where}", err=True)
