"""``tagstream offline judge attributes`` and ``pairwise``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from offline.judge.choose import FILE, JudgeChoice, judge_options
from offline.run_manifest import run_manifest
from offline.whole_file import write_json

CHUNK = 256


@contextmanager
def shown_progress(what: str, total: int) -> Iterator[Any]:
    """A bar on stderr; gives the function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)


@click.command()
@click.argument("samples", type=FILE)
@click.argument("predictions", nargs=-1, required=True)
@judge_options
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory for scores.jsonl and attributes.json."
)
@click.option("--limit", type=click.IntRange(min=1), help="Judge the first N samples only.")
@click.option("--beside-paper", is_flag=True, help="Show the paper's rows too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def attributes(
    *, samples: Path, predictions: tuple[str, ...], out: Path, limit: int | None, beside_paper: bool, as_json: bool, choice: JudgeChoice
) -> None:
    """Basic attribute scores of models: truth, coverage and importance, each 0 or 1, for every answer.

    PREDICTIONS are files as `offline infer` and `tag --json` write them, as FILE or NAME=FILE; the model is called by the file's name
    otherwise. A sample without an answer counts as answered without tags. A killed run goes on where it was.

    Example: tagstream offline judge attributes eval.jsonl sft=runs/sft.jsonl --judge oracle --truth truth.jsonl --out runs/judged
    """
    from offline.judge.answers import named, read_judged
    from offline.judge.attributes import judge_attributes
    from offline.judge.files import files_from
    from offline.judge.paper import paper_rows
    from offline.judge.show import show_attributes

    given = read_judged(samples, predictions, limit=limit)
    options = {"samples": samples, "predictions": predictions, "limit": limit, "judge": choice}
    with (
        choice.open(samples, out) as (judge, spent),
        run_manifest(out / "attributes", "tagstream offline judge attributes", options, {"judge": judge.version}, spent) as manifest,
        shown_progress("answers scored", len(given.samples) * len(given.models)) as advance,
    ):
        models = judge_attributes(judge, given, out, chunk=CHUNK, advance=advance)
        manifest.counts = {"samples": len(given.samples), "invalid": sum(one.invalid for one in models.values())}
    report: dict[str, Any] = {"judge": judge.version, "spent": spent(), "samples": len(given.samples), "models": models}
    report["files"] = files_from(out, samples, named(predictions), None, choice.truth)
    if beside_paper:
        report["paper"] = paper_rows()
    write_json(out / "attributes.json", report)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        show_attributes(models, beside_paper=beside_paper)


@click.command()
@click.argument("samples", type=FILE)
@click.argument("predictions", nargs=-1, required=True)
@judge_options
@click.option("--reference", type=FILE, help="Predictions to compare with; the samples' own tags by default.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Directory for verdicts.jsonl, verdicts.csv (for `judge score`) and pairwise.json.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Judge the first N samples only.")
@click.option("--beside-paper", is_flag=True, help="Show the paper's rows too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def pairwise(
    *, samples: Path, predictions: tuple[str, ...], reference: Path | None, out: Path, limit: int | None, beside_paper: bool,
    as_json: bool, choice: JudgeChoice,
) -> None:  # fmt: skip
    """Models against a reference, every pair judged in both orders; both verdicts count, the second negated.

    Invalid verdicts are dropped and counted. Besides the score: how often both orders agree, how many points an answer gains by standing
    first, and whether verdicts follow the number of tags. PREDICTIONS as for `judge attributes`.

    Example: tagstream offline judge pairwise eval.jsonl sft=runs/sft.jsonl --judge oracle --truth truth.jsonl --out runs/judged
    """
    from offline.judge.answers import named, read_judged
    from offline.judge.files import files_from
    from offline.judge.pairwise import judge_pairwise
    from offline.judge.paper import paper_rows
    from offline.judge.show import show_pairwise

    given = read_judged(samples, predictions, reference, limit)
    options = {"samples": samples, "predictions": predictions, "reference": reference, "limit": limit, "judge": choice}
    with (
        choice.open(samples, out) as (judge, spent),
        run_manifest(out / "pairwise", "tagstream offline judge pairwise", options, {"judge": judge.version}, spent) as manifest,
        shown_progress("pairs judged", len(given.references) * len(given.models)) as advance,
    ):
        models = judge_pairwise(judge, given, out, chunk=CHUNK, advance=advance)
        manifest.counts = {"samples": len(given.samples), "invalid": sum(one.invalid for one in models.values())}
    against = "samples" if reference is None else str(reference)
    report: dict[str, Any] = {
        "judge": judge.version,
        "spent": spent(),
        "samples": len(given.samples),
        "reference": against,
        "models": models,
    }
    report["files"] = files_from(out, samples, named(predictions), reference, choice.truth)
    if beside_paper:
        report["paper"] = paper_rows()
    write_json(out / "pairwise.json", report)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        show_pairwise(models, beside_paper=beside_paper)
