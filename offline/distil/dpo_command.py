"""``tagstream offline dpo-pairs`` and ``dpo``."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from offline.distil.recipes import read_recipe, recipe_names
from offline.distil.train_options import PATH, say, show_end, training_of, training_options
from offline.judge.choose import JudgeChoice, judge_options


@click.command("dpo-pairs")
@click.option("--model", "sft", required=True, type=PATH, help="Directory of the SFT run, or of its model.")
@click.option("--pool", required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Samples with reference tags.")
@click.option("--out", required=True, type=PATH, help="Directory for predictions, verdicts and pairs.")
@partial(judge_options, model="--judge-model")
@click.option(
    "--at-most", type=click.IntRange(-4, 4), default=-1, show_default=True, help="Points of both verdicts from which an answer is inferior."
)
@click.option(
    "--swap-attributes", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of references with a contradiction made."
)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Notes at a time.")
@click.option("--new-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Tokens of an answer at most.")
@click.option("--limit", type=click.IntRange(min=0), default=0, show_default=True, help="Only the first samples; 0 = all.")
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True, help="Of the swaps.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def dpo_pairs_command(
    *, sft: Path, pool: Path, out: Path, at_most: int, swap_attributes: float, batch: int, new_tokens: int, limit: int, seed: int,
    device: str, as_json: bool, choice: JudgeChoice,
) -> None:  # fmt: skip
    """Preference pairs: what the SFT model answers on the pool, where a judge finds it inferior to the references.

    Every pair is judged in both orders. Answers are the model's own, without guards, decoding held to the schema. A run that was killed
    goes on: nothing is inferred or judged twice.

    Example: tagstream offline dpo-pairs --model runs/sft --pool pool/samples.jsonl --judge oracle --truth pool/truth.jsonl --out runs/pairs
    """
    from models.vlm_model import open_vlm
    from models.vlm_tagger import Bounds
    from offline.distil.infer import infer
    from offline.distil.pairs import make_pairs
    from offline.distil.training import model_directory

    with pool.open("rb") as file:
        total = sum(1 for _ in file)
    total = min(total, limit) if limit else total
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    with choice.open(pool, out) as (judge, spent), bars as progress:
        inferred = progress.add_task("notes tagged", total=total)
        judging = progress.add_task("pairs judged", total=total)
        infer(
            open_vlm(str(model_directory(sft)), device),
            pool,
            out / "predictions.jsonl",
            guards=False,
            bounds=Bounds(batch=batch, new_tokens=new_tokens),
            limit=limit,
            say=lambda done: progress.update(inferred, completed=done),
        )
        held = make_pairs(
            judge,
            pool,
            out / "predictions.jsonl",
            out,
            at_most=at_most,
            swap_attributes=swap_attributes,
            seed=seed,
            limit=limit,
            advance=lambda done: progress.advance(judging, done),
            spent=spent,
        )
    found = held["pairs"]
    summary = f"{found['judged']:,} pairs of {held['judged']:,} judged, {found['swapped']:,} swapped; {out}/pairs.jsonl"
    click.echo(json.dumps(held) if as_json else summary, err=not as_json)


@click.command("dpo")
@click.option("--model", required=True, type=PATH, help="Directory of the SFT run, or of its model.")
@click.option("--pairs", required=True, type=PATH, help="Directory that dpo-pairs wrote.")
@click.option("--out", required=True, type=PATH, help="Directory of the run; OUT/model is the model.")
@click.option("--recipe", type=click.Choice(recipe_names()), help="Batch and LoRA of this base model; else plain ones.")
@click.option("--beta", type=click.FloatRange(min=0, min_open=True), help="How dear it is to leave the reference model; 0.1.")
@click.option("--sft-weight", type=click.FloatRange(min=0), help="Of a further loss on the chosen answer, against its fall; 0.")
@training_options
def dpo_command(*, model: Path, pairs: Path, out: Path, recipe: str | None, as_json: bool, **chosen: Any) -> None:
    """Moves an SFT model away from its inferior answers towards the references: 5e-6, one epoch.

    The reference model is the SFT model itself. The log-probability of the chosen answers is watched; that it falls is said at the end
    and stands in OUT/manifest.json. A run that was killed goes on from its last checkpoint.

    Example: tagstream offline dpo --model runs/sft --pairs runs/pairs --out runs/dpo
    """
    from models.vlm_card import read_card
    from offline.distil.dpo import dpo
    from offline.distil.training import model_directory

    found = model_directory(model)
    plain = read_recipe(recipe or "")
    training = training_of(plain, plain.dpo, read_card(found), chosen)
    held = dpo(found, pairs, out, training, say)
    figures = held["figures"]
    summary = f"{figures['pairs']:,} pairs, margin {figures['margin']}, accuracy {figures['accuracy']}; {out}/model"
    show_end(held, summary, as_json)
