"""Options that `sft` and `dpo` share, and the training that they and a recipe make."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
import msgspec

from models.prompts import STYLES
from offline.distil.recipes import Recipe, Stage, Tuning

if TYPE_CHECKING:
    from offline.distil.training import Training

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
ZERO = click.IntRange(min=0)


def training_options(command: F) -> F:
    """Every option whose default is the recipe's is None where it is not given."""
    options = [
        click.option("--tuning", type=click.Choice(get_args(Tuning)), help="By default the recipe's: lora."),
        click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="By default the recipe's, which is the paper's."),
        click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="By default the recipe's, which is the paper's."),
        click.option("--batch", type=COUNT, help="Samples of a step on one device."),
        click.option("--accumulate", type=COUNT, help="Steps that add up to one update."),
        click.option("--rank", type=COUNT, help="Of LoRA's matrices."),
        click.option("--max-tokens", type=COUNT, help="Longer samples are left out and counted, never cut."),
        click.option("--image-pixels", type=click.IntRange(min=1024), help="Area of a picture; by default the model's or the recipe's."),
        click.option("--images", type=COUNT, help="Pictures of a note at most."),
        click.option(
            "--style", type=click.Choice(list(STYLES)), help="Of the prompt; by default what the model was trained with, or full."
        ),
        click.option("--max-tags", type=COUNT, default=10, show_default=True, help="Tags of an answer at most."),
        click.option(
            "--warm-up", type=click.FloatRange(0, 1, max_open=True), default=0.03, show_default=True, help="Share of the updates."
        ),
        click.option("--decay", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Weight decay."),
        click.option("--seed", type=ZERO, default=7, show_default=True, help="Of the order of the samples and of dropout."),
        click.option("--limit", type=ZERO, default=0, show_default=True, help="Only the first samples; 0 = all."),
        click.option("--save-steps", type=COUNT, default=200, show_default=True, help="Updates between checkpoints."),
        click.option("--log-steps", type=COUNT, default=10, show_default=True, help="Updates between two lines of progress."),
        click.option(
            "--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True, help="auto: a GPU where there is one."
        ),
        click.option("--workers", type=ZERO, default=0, show_default=True, help="Processes that prepare batches; 0: the training's own."),
        click.option("--cache-mb", type=ZERO, default=2048, show_default=True, help="Room for prepared pictures."),
        click.option("--json", "as_json", is_flag=True, help="The run's manifest on stdout."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def training_of(recipe: Recipe, stage: Stage, card: Any, chosen: dict[str, Any]) -> "Training":
    """What was chosen, else what the model was trained with, else the recipe."""
    from offline.distil.training import Training

    plain: dict[str, Any] = {
        "tuning": recipe.tuning,
        "learning_rate": stage.learning_rate,
        "epochs": stage.epochs,
        "batch": stage.batch,
        "accumulate": stage.accumulate,
        "max_tokens": recipe.max_tokens,
        "image_pixels": card.image_pixels if card else recipe.image_pixels,
        "images": recipe.images,
        "style": card.style if card else "full",
        "beta": stage.beta,
        "sft_weight": stage.sft_weight,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    rank = given.pop("rank", None)
    lora = msgspec.structs.replace(recipe.lora, rank=rank, alpha=2 * rank) if rank else recipe.lora
    return Training(**(plain | given), lora=lora)


def first_process() -> bool:
    """Whether this is the one process, or the first of those that torchrun or accelerate started: the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def several_processes() -> bool:
    """Whether torchrun or accelerate started more than one to train one model."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def say(line: str) -> None:
    """A line on stderr, from the first process alone."""
    if first_process():
        click.echo(line, err=True)


def show_end(held: dict[str, Any], summary: str, as_json: bool) -> None:
    """The end of a run: one JSON document on stdout, or a line on stderr."""
    if as_json and first_process():
        click.echo(json.dumps(held))
    elif not as_json:
        say(summary)
