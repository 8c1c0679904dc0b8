"""``tagstream offline tag-data simulated``."""

import json
from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from offline.simulate.draws import SEED_MAX
from offline.tag_data.simulated import DRAWN, Plan, Speech, write_simulated
from schemas.events import CATEGORIES, Category


@click.command("simulated")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory for samples, truths, pictures.")
@click.option("--notes", required=True, type=click.IntRange(1, 10_000_000), help="How many.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the first note looked at.")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=7, show_default=True, help="Which community.")
@click.option("--categories", default="", help="Only notes of these, such as shoes,dressing; by default all.")
@click.option("--speech", type=click.Choice(get_args(Speech)), default="perfect", show_default=True, help="How voices are written down.")
@click.option("--noise", type=click.FloatRange(0, 1), default=0, show_default=True, help="How much the teacher errs; 0 tells the truth.")
@click.option("--max-tags", type=click.IntRange(min=1), default=12, show_default=True, help="Tags of a note at most.")
@click.option(
    "--drawn", type=click.Path(path_type=Path, file_okay=False), default=DRAWN, show_default=True, help="Where drawings are kept and found."
)
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True, help="How many draw.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def simulated(
    *,
    out: Path,
    notes: int,
    first: int,
    seed: int,
    categories: str,
    speech: Speech,
    noise: float,
    max_tags: int,
    drawn: Path,
    processes: int,
    as_json: bool,
) -> None:
    """Writes samples of the simulated community with the tags that its truth tells, and truth.jsonl beside them.

    With --noise the tags are those of a teacher that leaves out, invents, says nothing and ranks wrongly, as is stated in
    offline/tag_data/erring_teacher.py. Nearly all of the time goes into drawing, a tenth of a second a picture the first time.

    Example: tagstream offline tag-data simulated --notes 1000 --categories shoes,dressing --noise 0.4 --out runs/tag-data
    """
    plan = Plan(notes=notes, first=first, seed=seed, categories=_categories(categories), speech=speech, noise=noise, max_tags=max_tags)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("notes", total=notes)
        counts = write_simulated(plan, out, drawn, processes, lambda done: progress.update(task, completed=done))
    summary = f"{counts['notes']:,} notes, {counts['pictures']:,} pictures, {counts['tags']:,} tags in {out}/samples.jsonl"
    click.echo(json.dumps({**counts, "out": str(out)}) if as_json else summary, err=not as_json)


def _categories(text: str) -> list[Category]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in CATEGORIES:
            raise click.UsageError(f"--categories: there is no category {name!r}; choose of: {', '.join(CATEGORIES)}")
    return [name for name in CATEGORIES if name in names]
