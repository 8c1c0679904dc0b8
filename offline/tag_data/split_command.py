"""``tagstream offline tag-data split``."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from offline.tag_data.links import KINDS, Kind
from offline.tag_data.split import SETS
from offline.tag_data.split_samples import LeakReport, SplitReport, SplitSpec, find_leaks, sets_of, split_samples
from schemas.errors import MissingPrerequisite


@click.command("split")
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Directory for sft.jsonl, dpo_pool.jsonl, eval.jsonl.")
@click.option("--sft", type=float, default=0.75, show_default=True, help="Share of the samples, or how many.")
@click.option("--dpo", type=float, default=0.125, show_default=True, help="The same of the DPO pool.")
@click.option("--eval", "eval_", type=float, default=0.125, show_default=True, help="The same of the evaluation set.")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the draw.")
@click.option("--links", default=",".join(KINDS), show_default=True, help="What ties samples together.")
@click.option("--check", is_flag=True, help="Only look what sets share: those of a directory, or files of samples.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def split(
    *, source: tuple[Path, ...], out: Path | None, sft: float, dpo: float, eval_: float, seed: int, links: str, check: bool, as_json: bool
) -> None:
    """Splits the samples of a directory into three sets; those of one note, author, text or picture stay together.

    Texts are near-duplicates from a Jaccard similarity of 0.7 of their character shingles on, pictures with at most 3 of 64 bits of their
    perceptual hash apart and about the same colours. With --check it exits 1 when sets share anything, and names examples.

    Example: tagstream offline tag-data split runs/tag-data --out runs/sets && tagstream offline tag-data split runs/sets --check
    """
    kinds = _kinds(links)
    if check:
        paths = [path for one in source for path in (sets_of(one) if one.is_dir() else [one])]
        if len(paths) < 2:
            raise MissingPrerequisite(f"{source[0]} holds no two sets; name files of samples, or a directory with {', '.join(SETS)}")
        with _progress() as advance:
            leaks = find_leaks(paths, kinds, advance)
        click.echo(msgspec.json.encode(leaks).decode() if as_json else _leaks_told(leaks))
        sys.exit(1 if leaks.crossing else 0)
    if out is None or len(source) != 1:
        raise click.UsageError("give one directory of samples and --out DIR; several are for --check")
    with _progress() as advance:
        report = split_samples(source[0], out, SplitSpec(amounts=(sft, dpo, eval_), seed=seed, kinds=kinds), advance)
    if report.giant:
        click.echo(report.giant, err=True)
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
    else:
        _show(report)


def _kinds(text: str) -> list[Kind]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            raise click.UsageError(f"--links: there is no {name!r}; choose of: {', '.join(KINDS)}")
    return [kind for kind in KINDS if kind in names]


@contextmanager
def _progress() -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}: {task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("pictures looked at", total=None)
        yield lambda: progress.advance(task)


def _leaks_told(report: LeakReport) -> str:
    if not report.crossing:
        return f"nothing is shared by {', '.join(f'{name} ({count:,})' for name, count in report.sets.items())}"
    lines = [f"{count:,} notes hang together by {kind} over sets" for kind, count in report.crossing.items()]
    lines += [f"  {one.kind}: {one.left_note!r} of {one.left_set} and {one.right_note!r} of {one.right_set}" for one in report.examples]
    return "\n".join(lines)


def _show(report: SplitReport) -> None:
    table = Table("category", *report.sets, box=None, header_style="dim", padding=(0, 1))
    for category in next(iter(report.categories.values())):
        table.add_row(category, *(f"{report.categories[name][category]:,}" for name in report.sets))
    table.add_row("all", *(f"{count:,}" for count in report.sets.values()), style="bold")
    console = Console()
    console.print(table)
    left = f", {report.left_out:,} left out" if report.left_out else ""
    console.print(f"{report.components:,} groups, the largest of {report.largest:,} samples{left}", highlight=False)
