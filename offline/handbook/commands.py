"""``tagstream offline handbook expand|merge|validate|diff|history``: options and what is printed; the work is done elsewhere."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from models.handbook import HANDBOOK_DIR, load_handbook
from offline.chat.client import ChatClient, ChatSpec
from offline.chat.options import chat_options
from offline.handbook.merge import Outcome, merge_draft
from offline.handbook.proposals import read_drafts
from offline.handbook.three_way import chosen
from schemas.events import CATEGORIES, Category

DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)
CATEGORY = click.Choice([*CATEGORIES, "all"])
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.command("expand")
@click.option("--category", "names", type=CATEGORY, multiple=True, required=True, help="Which to expand; several times, or all.")
@click.option("--handbook", "directory", type=DIRECTORY, default=HANDBOOK_DIR, show_default="the one shipped", help="What to expand.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory for drafts, failures, manifest.")
@click.option("--max-tokens", type=click.IntRange(min=64), default=4096, show_default=True, help="Bound on an answer.")
@chat_options
@AS_JSON
def expand_command(
    *,
    names: tuple[str, ...],
    directory: Path,
    out: Path,
    max_tokens: int,
    chat: ChatSpec,
    recordings: Path | None,
    as_json: bool,
) -> None:
    """Asks a model what readers of a category care about beside what the handbook has; writes drafts for `merge`.

    The handbook is not touched. Answers are recorded in OUT/recordings unless --recordings says otherwise, so that a run which was
    interrupted is simply begun again. Answers that could not be used lie in OUT/failures.jsonl.

    Example: tagstream offline handbook expand --category all --endpoint http://127.0.0.1:8000/v1 --model teacher --out runs/expand
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from offline.handbook.expand import DRAFTS, FAILURES, RECORDINGS, expand_categories

    book = load_handbook(directory)
    asked: list[Category] = [name for name in CATEGORIES if name in names or "all" in names]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        ChatClient(chat, recordings or out / RECORDINGS) as client,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("categories", total=len(asked))
        found = expand_categories(
            book, asked, client, out, max_tokens=max_tokens, advance=lambda done: progress.update(task, completed=done)
        )
        spent = client.spent
    if as_json:
        click.echo(msgspec.json.encode(msgspec.to_builtins(found) | {"spent": spent}).decode())
    else:
        cost = "" if spent.cost is None else f", ${spent.cost:.4f}"
        click.echo(
            f"{len(found.drafts)} drafts with {sum(found.proposed.values())} dimensions in {out / DRAFTS}; "
            f"{found.dropped} entries dropped; "
            f"{spent.requests} answers paid for{cost}, {spent.recorded} recorded",
            err=True,
        )
    for one in found.failures:
        click.echo(f"{one.category}: {one.reason}; its answer is in {out / FAILURES}", err=True)
    sys.exit(1 if found.failures else 0)


@click.command("merge")
@click.argument("draft", type=click.Path(path_type=Path, exists=True))
@click.option("--into", "directory", required=True, type=DIRECTORY, help="Directory of the handbook.")
@click.option("--by", envvar="USER", default="", help="Who merges, for the history; by default who is logged in.")
@click.option("--why", default="", help="Why, for the history.")
@click.option("--keep", multiple=True, metavar="PATH", help="Settle a conflict for the file's side; `all` for every one.")
@click.option("--take", multiple=True, metavar="PATH", help="Settle a conflict for the proposal; `all` for every one.")
@AS_JSON
def merge_command(*, draft: Path, directory: Path, by: str, why: str, keep: tuple[str, ...], take: tuple[str, ...], as_json: bool) -> None:
    """Merges DRAFT, a file or a directory of drafts, into the handbook, and keeps every edit that an expert made.

    Proposals that say otherwise than an expert are conflicts: the expert's side stands, they are listed by path and in
    provenance/CATEGORY.conflicts.yaml beside the files, and the exit status is 1 until each is settled by an edit, --keep or --take.

    Example: tagstream offline handbook merge runs/expand/drafts --into models/handbook --why "autumn trends"
    """
    decide = chosen(keep, take)
    outcomes = [merge_draft(one, directory, by=by, why=why, decide=decide) for one in read_drafts(draft)]
    if as_json:
        click.echo(msgspec.json.encode(outcomes).decode())
    else:
        for one in outcomes:
            _tell(one)
    sys.exit(1 if any(one.conflicts for one in outcomes) else 0)


@click.command("validate")
@click.argument("directory", type=DIRECTORY, default=HANDBOOK_DIR)
@AS_JSON
def validate_command(*, directory: Path, as_json: bool) -> None:
    """Names every error of a handbook by file and field, and what is odd about it; by default of the one shipped.

    Example: tagstream offline handbook validate models/handbook
    """
    from offline.handbook.validate import validate_handbook

    found = validate_handbook(directory)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        for kind, faults in (("error", found.errors), ("warning", found.warnings)):
            for one in faults:
                click.echo(f"{kind}: {one.file}: {one.field}: {one.reason}")
        click.echo(f"{len(found.errors)} errors, {len(found.warnings)} warnings", err=True)
    sys.exit(1 if found.errors else 0)


@click.command("diff")
@click.argument("before", type=click.Path(path_type=Path, exists=True))
@click.argument("after", type=click.Path(path_type=Path, exists=True))
@AS_JSON
def diff_command(*, before: Path, after: Path, as_json: bool) -> None:
    """What differs from BEFORE to AFTER, two handbooks or two files of a category, whatever their formatting.

    Example: tagstream offline handbook diff models/handbook runs/expert/handbook
    """
    from offline.handbook.compare import compare_handbooks

    found = compare_handbooks(before, after)
    if as_json:
        click.echo(msgspec.json.encode([{"file": one.file} | msgspec.to_builtins(one.difference) for one in found]).decode())
        return
    for one in found:
        click.echo(f"{one.file}: {_said(msgspec.to_builtins(one.difference))}")
    click.echo(f"{len(found)} differences", err=True)


@click.command("history")
@click.argument("directory", type=DIRECTORY, default=HANDBOOK_DIR)
@click.option("--category", "names", type=CATEGORY, multiple=True, default=("all",), show_default=True, help="Whose history.")
@AS_JSON
def history_command(*, directory: Path, names: tuple[str, ...], as_json: bool) -> None:
    """The versions of the handbook's files, oldest first: when, by whom, why, what they hold and what changed.

    Example: tagstream offline handbook history models/handbook --category shoes
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from offline.handbook.provenance import history_of

    found = {name: history_of(directory, name) for name in CATEGORIES if name in names or "all" in names}
    if as_json:
        click.echo(msgspec.json.encode({name: entries for name, entries in found.items() if entries}).decode())
        return
    table = Table("category", "version", "when", "cause", "by", "why", "model", "counts", box=None, header_style="dim")
    for name, entries in found.items():
        for one in entries:
            when = datetime.fromtimestamp(one.at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
            counts = ", ".join(f"{count} {what}" for what, count in one.counts.items() if count)
            told = (name, str(one.version), when, one.cause, one.by, one.why, one.source.model if one.source else "", counts)
            table.add_row(*map(Text, told))
    Console().print(table)
    if not any(found.values()):
        click.echo(f"{directory}: no version is recorded yet; `merge` records them", err=True)


def _tell(one: Outcome) -> None:
    for change in one.changes:
        click.echo(f"{one.category}: {_said(msgspec.to_builtins(change))}")
    for conflict in one.conflicts:
        click.echo(f"{one.category}: conflict {conflict.path}: {conflict.reason}; proposed is {_short(conflict.proposed)}", err=True)
    if one.comments_lost:
        click.echo(f"{one.category}: {one.comments_lost} comments went with dimensions that were written anew", err=True)
    rest = f", {len(one.conflicts)} conflicts, see {one.report}" if one.conflicts else ""
    click.echo(f"{one.category}: version {one.version}, {len(one.changes)} changes{rest}", err=True)


def _said(change: dict[str, Any]) -> str:
    sides = [_short(change[side]) for side in ("before", "after") if change[side] is not None]
    return f"{change['kind']} {change['path']}: {' -> '.join(sides)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else f"{text[:99]}…"
