"""A vision-language model with its processor: Qwen3-VL and InternVL3/3.5, loaded alike and limited alike in what they see.

torch and transformers are imported with this module, so import it only where a model is wanted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from models.prompts import Prompt
from models.vlm_card import VlmCard, find_weights
from schemas.errors import BadSetting

TILE = 448  # pixels a side of what InternVL sees at once
ASPECT_MAX = 100.0  # the processors raise above 200
FAMILIES = {"qwen3_vl": "qwen", "qwen2_5_vl": "qwen", "qwen2_vl": "qwen", "internvl": "internvl"}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class VlmModel:
    """Takes prompts, gives tensors and text.

    Args:
        model: a transformers image-text-to-text model in evaluation mode.
        processor: that belongs to it.
        card: what the weights were trained with; None for weights of general use.
        name: what was loaded, for messages.
        identity: of the weights, for versions; by default ``name``.
    """

    def __init__(self, model: Any, processor: Any, card: VlmCard | None = None, name: str = "", identity: str = "") -> None:
        family = FAMILIES.get(model.config.model_type)
        if family is None:
            raise BadSetting(f"vlm_model: {name}: there is no support for {model.config.model_type}; use one of {', '.join(FAMILIES)}")
        self.family = family
        self.model = model
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.card = card
        self.name = name
        self.identity = identity or name
        self.device = next(model.parameters()).device
        self.vocabulary = model.get_output_embeddings().weight.shape[0]
        self.stops = _stops(model, self.tokenizer)
        self.pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.stops[0]

    @property
    def specials(self) -> list[str]:
        """Tokens that mean something to the chat template; no note may write them."""
        found = [str(token) for token in self.tokenizer.all_special_tokens]
        added = self.tokenizer.added_tokens_decoder.values()
        found += [token.content for token in added if token.special or token.content[:1] in "<["]
        return sorted(set(found))

    @property
    def never(self) -> list[int]:
        """Ids of special tokens that do not end an answer."""
        special = [number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special]
        return sorted({*special, *self.tokenizer.all_special_ids} - set(self.stops))

    def render(self, prompt: Prompt) -> str:
        """The chat as the model's template puts it, one place for each picture, up to where the answer begins."""
        text = self.processor.apply_chat_template(prompt.chat(), tokenize=False, add_generation_prompt=True)
        return str(text)

    def inputs(self, texts: Sequence[str], pictures: Sequence[Sequence[NDArray[np.uint8]]], pixels: int) -> dict[str, torch.Tensor]:
        """What ``tensors`` gives, on the model's device and in its arithmetic."""
        tensors = {name: value.to(self.device) for name, value in self.tensors(texts, pictures, pixels).items()}
        if "pixel_values" in tensors:
            tensors["pixel_values"] = tensors["pixel_values"].to(self.model.dtype)
        return tensors

    def tensors(self, texts: Sequence[str], pictures: Sequence[Sequence[NDArray[np.uint8]]], pixels: int) -> dict[str, torch.Tensor]:
        """Left-padded tensors in main memory, pictures in float32.

        Args:
            texts: rendered chats.
            pictures: of each, as many as it has places; RGB, (height, width, 3).
            pixels: area of a picture at most, as the model sees it.
        """
        aspect = min(ASPECT_MAX, float(self.image_tokens(pixels)))  # a strip's short side is one token at least
        images = [[_shaped(one, aspect) for one in of] for of in pictures]
        given: dict[str, Any] = {"text": list(texts), "padding": True, "padding_side": "left", "return_tensors": "pt"}
        if any(images):
            given["images"] = [of for of in images if of] if self.family == "internvl" else images
            given |= self._limits(pixels)
        if self.family == "qwen":
            given["return_mm_token_type_ids"] = True
        made = self.processor(**given)
        wanted = {"input_ids", "attention_mask", "pixel_values", "image_grid_thw", "mm_token_type_ids"}
        if self.family == "internvl":
            wanted -= {"mm_token_type_ids"}
        return {name: value for name, value in made.items() if name in wanted}

    def picture_tokens(self, height: int, width: int, pixels: int) -> int:
        """Tokens that a picture of this size puts into the prompt in place of its one, from its size alone."""
        height, width = _sides(height, width, min(ASPECT_MAX, float(self.image_tokens(pixels))))
        images, limits = self.processor.image_processor, self._limits(pixels)
        if self.family == "internvl":
            return int(images.get_number_of_image_patches(height, width, limits)) * int(self.processor.image_seq_length) + 2  # its marks
        areas = {"min_pixels": limits["size"]["shortest_edge"], "max_pixels": limits["size"]["longest_edge"]}
        return int(images.get_number_of_image_patches(height, width, areas)) // int(images.merge_size) ** 2

    def image_tokens(self, pixels: int) -> int:
        """Tokens of one picture at most."""
        if self.family == "qwen":
            side = self.processor.image_processor.patch_size * self.processor.image_processor.merge_size
            return int(max(1, pixels // (side * side)))
        tiles = self._tiles(pixels)
        return int(self.processor.image_seq_length) * (tiles + (tiles > 1))

    def _limits(self, pixels: int) -> dict[str, Any]:
        """How each family is told; both ignore the other's way."""
        if self.family == "qwen":
            side = self.processor.image_processor.patch_size * self.processor.image_processor.merge_size
            return {"size": {"shortest_edge": min(side * side, pixels), "longest_edge": pixels}}
        tiles = self._tiles(pixels)
        return {"crop_to_patches": tiles > 1, "min_patches": 1, "max_patches": tiles}

    def _tiles(self, pixels: int) -> int:
        size = self.processor.image_processor.size
        return int(max(1, pixels // (size["height"] * size["width"])))


def open_vlm(model: str, device: str = "auto", dtype: str = "auto") -> VlmModel:
    """Loads a model.

    Args:
        model: ``demo`` (the one in this package, for the simulated community), a local directory, or a hub id.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1``.
        dtype: ``auto`` (bfloat16 on CUDA, float32 elsewhere), ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        BadSetting: when it cannot be loaded, naming the setting.
    """
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    chosen = (torch.bfloat16 if where.startswith("cuda") else torch.float32) if dtype == "auto" else DTYPES.get(dtype)
    if chosen is None:
        raise BadSetting(f"vlm_dtype: {dtype!r} is none of auto, {', '.join(DTYPES)}")
    weights = find_weights(model)
    given = {"revision": weights.revision} if weights.revision else {}
    try:
        processor = AutoProcessor.from_pretrained(weights.place, **given)
        loaded = AutoModelForImageTextToText.from_pretrained(weights.place, dtype=chosen, **given).to(where).eval()
    except (OSError, ValueError, RuntimeError, KeyError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadSetting(f"vlm_model: {model} cannot be loaded on {where}: {first}") from None
    return VlmModel(loaded, processor, weights.card, model, weights.name)


def _stops(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer."""
    named = model.generation_config.eos_token_id
    stops = [named] if isinstance(named, int) else list(named or [])
    return stops or [tokenizer.eos_token_id]


def _shaped(pixels: NDArray[np.uint8], aspect: float) -> Image.Image:
    """As a picture whose sides are within ``aspect`` of each other: a longer one is squeezed."""
    picture = Image.fromarray(pixels)
    height, width = _sides(picture.height, picture.width, aspect)
    return picture if (width, height) == picture.size else picture.resize((width, height))


def _sides(height: int, width: int, aspect: float) -> tuple[int, int]:
    long = int(aspect * min(width, height))
    return min(height, long), min(width, long)
