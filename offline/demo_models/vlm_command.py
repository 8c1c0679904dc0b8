"""``tagstream offline demo-models vlm-data`` and ``vlm``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from offline.demo_models.vlm_data import Family


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

    numbers = [_number(seed) for seed in seeds.split(",")]
    held_out = [(numbers[0], 200_000, 200), (99, 0, 150)]
    plan = Plan(seeds=numbers, notes=notes, drawn=min(drawn, notes), held_out=held_out, family=family, schooled=not base)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("notes drawn", total=plan.drawn * len(numbers) + 350)
        facts = prepare(out, plan, pictures or out / "drawn", lambda done: progress.update(task, completed=done), BASE if base else Size())
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


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f"--seeds: {text!r} is no number; write 7,21") from None
