"""``tagstream offline sft``."""

from pathlib import Path
from typing import Any

import click

from offline.distil.recipes import read_recipe, recipe_names
from offline.distil.train_options import PATH, say, show_end, training_of, training_options


@click.command("sft")
@click.option("--model", required=True, help=f"{', '.join(recipe_names())}; or a directory or hub id of Qwen3-VL or InternVL3.")
@click.option("--data", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File of samples with their tags.")
@click.option("--out", required=True, type=PATH, help="Directory of the run; OUT/model is the model.")
@training_options
def sft_command(*, model: str, data: Path, out: Path, as_json: bool, **chosen: Any) -> None:
    """Teaches a base model the tags of DATA: 1e-4, three epochs, LoRA, loss on the answer alone, as its recipe says.

    A run that was killed goes on from its last checkpoint when it is started again. OUT/model is what TAGSTREAM_VLM_MODEL takes;
    OUT/manifest.json says what it was made with, OUT/checkpoints/runs holds curves for TensorBoard. Several GPUs: see
    offline/distil/launch.

    Example: tagstream offline sft --model qwen3-vl-2b --data runs/tag-data/sft.jsonl --out runs/sft
    """
    from models.vlm_card import read_card
    from offline.distil.sft import sft

    recipe = read_recipe(model)
    training = training_of(recipe, recipe.sft, read_card(Path(recipe.model)), chosen)
    held = sft(recipe.model, data, out, training, say)
    found = held["figures"]
    summary = f"{found['samples']:,} samples, loss {found['loss']}; {out}/model"
    show_end(held, summary, as_json)
