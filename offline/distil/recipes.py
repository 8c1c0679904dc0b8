"""How each base model of section 4.1 is trained: one YAML file a model in ``offline/distil/recipes``."""

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from schemas.errors import BadSetting

RECIPES = Path(__file__).with_name("recipes")
Tuning = Literal["lora", "qlora", "full"]


class Lora(Struct, frozen=True, forbid_unknown_fields=True):
    """``targets``: a pattern that the whole name of a layer must match; the vision part is no target."""

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.05
    targets: str = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


class Stage(Struct, frozen=True, forbid_unknown_fields=True):
    """``batch``: samples of a step on one device, which ``accumulate`` steps add up to one update. ``beta``, ``sft_weight``: of DPO."""

    learning_rate: float
    epochs: float
    batch: int
    accumulate: int
    beta: float = 0.1
    sft_weight: float = 0.0


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """``model``: hub id. ``image_pixels``: area of a picture, of which a note has ``images`` at most. ``max_tokens``: of a prompt with its
    answer; what is longer is left out. The figures of both stages are the paper's where it gives any."""

    model: str = ""
    image_pixels: int = 448 * 448
    images: int = 8
    max_tokens: int = 6144
    tuning: Tuning = "lora"
    lora: Lora = field(default_factory=Lora)
    sft: Stage = field(default_factory=lambda: Stage(1e-4, 3, 8, 4))
    dpo: Stage = field(default_factory=lambda: Stage(5e-6, 1, 4, 8))


def recipe_names() -> list[str]:
    """The models that have one."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def read_recipe(name: str) -> Recipe:
    """The recipe of a model by name; a model by path or hub id has the plain one.

    Raises:
        BadSetting: when a recipe's file is none.
    """
    if name not in recipe_names():
        return Recipe(model=name)
    path = RECIPES / f"{name}.yaml"
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Recipe)
    except msgspec.DecodeError as error:
        raise BadSetting(f"{path}: {error}") from None
