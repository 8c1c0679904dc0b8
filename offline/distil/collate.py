"""Rows made into batches as TRL's trainers take them, prompts by the very function that the tagger uses.

A prompt with its pictures is prepared once and kept as long as there is room: at small sizes preparing costs more than learning.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from models.vlm_model import VlmModel
from offline.distil.rows import Row
from offline.distil.train_options import several_processes

Tensors = dict[str, torch.Tensor]
IGNORED = -100  # what the loss does not look at


def dataset_of(rows: Sequence[Row]) -> Dataset:
    """With the columns that TRL wants: ``images``, ``prompt``, and ``completion`` or ``chosen`` and ``rejected``; ``length``; ``row``."""
    names = ("completion",) if len(rows[0].answers) == 1 else ("chosen", "rejected")
    answers = {name: [row.answers[place] for row in rows] for place, name in enumerate(names)}
    return Dataset.from_dict(
        {
            "row": list(range(len(rows))),
            "images": [row.images for row in rows],
            "prompt": [row.prompt for row in rows],
            **answers,
            "length": [row.length for row in rows],
        }
    )


class Piece(NamedTuple):
    """One sequence: ``ids`` and ``types`` (length,), of which the answer begins at ``answer``; the tensors of its pictures."""

    ids: torch.Tensor
    types: torch.Tensor
    answer: int
    pictures: Tensors


class Collator:
    """Makes batches: right-padded, the loss on the answer and its end token alone.

    Args:
        model: whose processor prepares prompts.
        directory: where pictures lie.
        image_pixels: area of a picture at most.
        room: bytes of prepared prompts that are kept.
        always_look: a batch without any picture is given a blank one, where nothing attends to it and no loss is. By default where several
            processes share a model: who runs the vision tower alone waits for the others for ever.
    """

    def __init__(self, model: VlmModel, directory: Path, image_pixels: int, room: int, *, always_look: bool | None = None) -> None:
        self._model = model
        self._directory = directory
        self._pixels = image_pixels
        self._room = room
        self._blank = _blank(model) if (several_processes() if always_look is None else always_look) else None
        self._kept: dict[int, Tensors] = {}
        self.seconds = 0.0

    def __call__(self, examples: Sequence[dict[str, Any]]) -> Tensors:
        began = time.perf_counter()
        pairs = "chosen" in examples[0]
        names = ("chosen", "rejected") if pairs else ("completion",)
        pieces = [self._piece(example, name) for name in names for example in examples]
        batch = _padded(pieces, self._model.pad)
        if self._blank and "pixel_values" not in batch:
            _append(self._blank, batch, self._model.pad)
        answers = batch.pop("answers")
        if pairs:
            batch["completion_mask"] = answers.long()
        else:
            batch["labels"] = batch["input_ids"].masked_fill(~answers, IGNORED)
        if self._model.family != "qwen":
            del batch["mm_token_type_ids"]
        self.seconds += time.perf_counter() - began
        return batch

    def _piece(self, example: dict[str, Any], name: str) -> Piece:
        prompt = self._prompt(example)
        answer = self._model.tokenizer(example[name], add_special_tokens=False)["input_ids"]
        ids = torch.cat([prompt["input_ids"][0], torch.tensor([*answer, end_of(self._model)])])
        types = torch.zeros_like(ids)
        start = prompt["input_ids"].shape[1]
        if "mm_token_type_ids" in prompt:
            types[:start] = prompt["mm_token_type_ids"][0]
        return Piece(ids, types, start, {key: prompt[key] for key in ("pixel_values", "image_grid_thw") if key in prompt})

    def _prompt(self, example: dict[str, Any]) -> Tensors:
        number = example["row"]
        if number in self._kept:
            return self._kept[number]
        pictures = [_pixels(self._directory / file) for file in example["images"]]
        made = self._model.tensors([example["prompt"]], [pictures], self._pixels)
        size = sum(value.nbytes for value in made.values())
        if size <= self._room:
            self._room -= size
            self._kept[number] = made
        return made


def end_of(model: VlmModel) -> int:
    """The token that ends an answer."""
    eos: int = model.tokenizer.eos_token_id
    return eos if eos in model.stops else model.stops[0]


def _padded(pieces: Sequence[Piece], pad: int) -> Tensors:
    length = max(len(piece.ids) for piece in pieces)
    shape = (len(pieces), length)
    ids = torch.full(shape, pad)
    types, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    answers = torch.zeros(shape, dtype=torch.bool)
    for number, piece in enumerate(pieces):
        end = len(piece.ids)
        ids[number, :end], types[number, :end], mask[number, :end] = piece.ids, piece.types, 1
        answers[number, piece.answer : end] = True
    batch = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types, "answers": answers}
    for key in ("pixel_values", "image_grid_thw"):
        found = [piece.pictures[key] for piece in pieces if key in piece.pictures]
        if found:
            batch[key] = torch.cat(found)
    return batch


def _blank(model: VlmModel) -> Tensors:
    """The smallest black picture, as a prompt of its own."""
    text = model.processor.image_token
    return model.tensors([text], [[np.zeros((8, 8, 3), np.uint8)]], 1)


def _append(blank: Tensors, batch: Tensors, pad: int) -> None:
    """Behind the first sequence and its padding, masked."""
    shape = (len(batch["input_ids"]), blank["input_ids"].shape[1])
    for key, filling in (("input_ids", pad), ("attention_mask", 0), ("mm_token_type_ids", 0), ("answers", 0)):
        more = torch.full(shape, filling, dtype=batch[key].dtype)
        if key in blank and key != "attention_mask":
            more[0] = blank[key][0]
        batch[key] = torch.cat([batch[key], more], dim=1)
    batch |= {key: blank[key] for key in ("pixel_values", "image_grid_thw") if key in blank}


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
