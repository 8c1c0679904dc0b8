"""``tagstream offline infer``."""

import json
from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from offline.distil.infer import Modality


@click.command("infer")
@click.argument("model")
@click.argument("samples", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File for the predictions.")
@click.option("--without", multiple=True, type=click.Choice(get_args(Modality)), help="Not shown to the model; may be repeated.")
@click.option("--guards/--no-guards", default=True, show_default=True, help="Evidence, contradictions and aliases, as the settings say.")
@click.option("--constrained/--free", default=True, show_default=True, help="Whether decoding is held to the schema.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Notes at a time.")
@click.option("--new-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Tokens of an answer at most.")
@click.option("--max-tags", type=click.IntRange(min=1), default=10, show_default=True, help="Tags of a note at most.")
@click.option("--limit", type=click.IntRange(min=0), default=0, show_default=True, help="Only the first samples; 0 = all.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16 or float16.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def infer_command(
    *,
    model: str,
    samples: Path,
    out: Path,
    without: tuple[Modality, ...],
    guards: bool,
    constrained: bool,
    batch: int,
    new_tokens: int,
    max_tags: int,
    limit: int,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """Tags SAMPLES with MODEL: a directory, a hub id, or demo. Greedy; a run that was stopped goes on where it was.

    Example: tagstream offline infer runs/sft/model runs/tag-data/eval.jsonl --out runs/predictions.jsonl
    """
    from models.vlm_model import open_vlm
    from models.vlm_tagger import Bounds
    from offline.distil.infer import infer

    with samples.open("rb") as file:
        total = sum(1 for _ in file)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("notes", total=min(total, limit) if limit else total)
        count = infer(
            open_vlm(model, device, dtype),
            samples,
            out,
            without=frozenset(without),
            guards=guards,
            constrained=constrained,
            bounds=Bounds(batch=batch, new_tokens=new_tokens),
            limit=limit,
            max_tags=max_tags,
            say=lambda done: progress.update(task, completed=done),
        )
    click.echo(json.dumps({"notes": count, "out": str(out)}) if as_json else f"{count:,} notes in {out}", err=not as_json)
