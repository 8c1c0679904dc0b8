"""``tagstream offline demo-models vlm-data``, ``vlm`` and ``vlm-evaluate``."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from offline.demo_models.vlm_data import Family
    from offline.demo_models.vlm_held_out import Choice


@click.command("vlm-data")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory for the prepared data.")
@click.option("--pictures", type=click.Path(path_type=Path, file_okay=False), help="Where drawn pictures are kept; by default in OUT.")
@click.option("--notes", type=click.IntRange(min=1), default=14_000, show_default=True, help="Notes of each community.")
@click.option("--drawn", type=click.IntRange(min=1), default=800, show_default=True, help="Of these, how many have pictures of their own.")
@click.option("--seeds", default="7,21,22,23", show_default=True, help="Communities learned from.")
@click.option("--family", type=click.Choice(["qwen", "internvl"]), default="qwen", show_default=True, help="Which kind of model.")
@click.option("--base", is_flag=True, help="For a small base model that distillation begins with: words picked at random, not tags.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def vlm_data_command(
    *, out: Path, pictures: Path | None, notes: int, drawn: int, seeds: str, family: "Family", base: bool, as_json: bool
) -> None:
    """Prepares what `demo-models vlm` learns from: token ids, small pictures, held-out notes. Nearly all of the time goes into drawing.

    Held out are notes of the first community from number 200,000 on, and a community that is never learned from. With --base the model is
    taught to read, to see and to write the form of an answer, and not what readers want; see `tagstream offline distil-demo`.

    Example: tagstream offline demo-models vlm-data --out runs/vlm-data
    """
    from offline.demo_models.vlm_build import BASE, Size
    from offline.demo_models.vlm_data import Plan, prepare
    from offline.demo_models.vlm_held_out import HELD_OUT

    numbers = [_number(seed) for seed in seeds.split(",")]
    (_, first, judged), other = HELD_OUT
    plan = Plan(
        seeds=numbers, notes=notes, drawn=min(drawn, notes), held_out=[(numbers[0], first, judged), other], family=family, schooled=not base
    )
    with _drawing(plan.drawn * len(numbers) + judged + other[2]) as advance:
        facts = prepare(out, plan, pictures or out / "drawn", advance, BASE if base else Size())
    click.echo(json.dumps(facts) if as_json else f"{facts['rows']:,} rows, {facts['pictures']:,} pictures in {out}", err=not as_json)


@click.command("vlm")
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory that vlm-data prepared.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory for model and figures.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the weights and of the order of the notes.")
@click.option("--steps", type=click.IntRange(min=0), default=6000, show_default=True, help="0 = as many as --minutes allows.")
@click.option("--minutes", type=click.FloatRange(min=0), default=0, show_default=True, help="Bound on the training; 0 = none.")
@click.option("--batch", type=click.IntRange(min=1), default=128, show_default=True, help="Notes a step.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=1.5e-3, show_default=True, help="Highest learning rate.")
@click.option("--held-out", type=click.IntRange(min=0), default=0, show_default=True, help="Notes judged at the end; 0 = all.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in OUT.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def vlm_command(
    *,
    data: Path,
    out: Path,
    device: str,
    seed: int,
    steps: int,
    minutes: float,
    batch: int,
    rate: float,
    held_out: int,
    resume: bool,
    as_json: bool,
) -> None:
    """Trains a model of seven million parameters, or a base model of under two, from scratch and writes OUT/model, OUT/figures.json.

    OUT/model is what `TAGSTREAM_VLM_MODEL` takes. It tags notes of the simulated community and no others.

    Example: tagstream offline demo-models vlm --data runs/vlm-data --out runs/vlm --device cuda --steps 0 --minutes 4
    """
    from offline.demo_models.vlm_train import Training, train

    if not steps and not minutes:
        raise click.UsageError("--steps 0 needs --minutes")
    training = Training(steps=steps, minutes=minutes, batch=batch, rate=rate, seed=seed, device=device, held_out=held_out)
    figures = train(data, out, training, lambda line: click.echo(line, err=True), resume=resume)
    found = figures["held_out"]
    summary = f"F1 {found['f1']} on {found['notes']} held-out notes; {out}/model"
    click.echo(json.dumps(figures) if as_json else summary, err=not as_json)


@click.command("vlm-evaluate")
@click.argument("model", default="demo")
@click.option("--notes", "choices", multiple=True, metavar="SEED:FIRST:COUNT", help="Notes of a community. By default those held out.")
@click.option("--pictures", type=click.Path(path_type=Path, file_okay=False), help="Where drawn pictures are kept; by default nowhere.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def vlm_evaluate_command(*, model: str, choices: tuple[str, ...], pictures: Path | None, device: str, as_json: bool) -> None:
    """Judges how exactly MODEL, `demo` or a directory, tags notes of the simulated community that it has not learned from.

    By default the 350 notes that the committed model's figures are of: 200 of a community it knows, 150 of one it never saw.

    Example: tagstream offline demo-models vlm-evaluate demo --notes 123:0:100 --json
    """
    from models.vlm_model import open_vlm
    from offline.demo_models.vlm_held_out import HELD_OUT, draw_held_out
    from offline.demo_models.vlm_judge import judge

    chosen = [_choice(one) for one in choices] or list(HELD_OUT)
    opened = open_vlm(model, device, "float32")
    with tempfile.TemporaryDirectory() as kept_nowhere, _drawing(sum(notes for _, _, notes in chosen)) as advance:
        drawn = draw_held_out(chosen, pictures or Path(kept_nowhere), advance)
    figures = {"model": model, "version": opened.card and opened.card.version, **judge(opened, drawn.notes, drawn.pixels)}
    if as_json:
        click.echo(json.dumps(figures))
        return
    click.echo(f"exact F1 {figures['f1']} on {figures['notes']} notes (precision {figures['precision']}, recall {figures['recall']})")
    click.echo(f"the same notes as words alone: {figures['f1_words_alone']}")
    click.echo("found, by where a tag is told: " + ", ".join(f"{name} {share}" for name, share in figures["recall_by_source"].items()))


@contextmanager
def _drawing(notes: int) -> Iterator[Callable[[int], None]]:
    """Progress of notes whose pictures are drawn."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("notes drawn", total=notes)
        yield lambda done: progress.update(task, completed=done)


def _choice(text: str) -> "Choice":
    match text.split(":"):
        case [seed, first, notes] if all(part.isdecimal() for part in (seed, first, notes)) and int(notes):
            return int(seed), int(first), int(notes)
    raise click.UsageError(f"--notes: {text!r} is not SEED:FIRST:COUNT; write 123:0:100")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f"--seeds: {text!r} is no number; write 7,21") from None
