"""Notes a second of the vision-language tagger on a GPU: weights of Qwen3-VL-2B's shape (random, from its configuration), by batch size,
and as a share of transformers' ``generate`` on the same inputs, as it is and compiled. It is no part of ``python -m benchmarks``: it needs
a GPU of 12 GB.

Random weights write nothing of sense, so the schema asks for tags without end and every answer has all its tokens. The tokenizer is a small
one of ours; a note has one 448 x 448 picture and about 400 tokens of prompt, which the figures count.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from models.guards import Guards
from models.handbook import load_handbook
from models.prompts import STYLES, answer_schema
from models.roles import NoteMedia, SeenImage
from models.vlm_card import VlmCard
from models.vlm_model import VlmModel
from models.vlm_tagger import Bounds, VlmTagger
from offline.demo_models.vlm_build import IMAGE, VIDEO, VISION, VISION_END, make_processor, train_tokenizer
from schemas.events import NoteEvent

SIDE = 448
TEXT = {
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144, "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True},
}  # fmt: skip
SIGHT = {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16, "spatial_merge_size": 2,
    "temporal_patch_size": 2, "out_hidden_size": 2048, "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
}  # fmt: skip
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File for the figures, JSON.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--batches", default="1,4,16,32", show_default=True)
@click.option("--new-tokens", default=96, show_default=True)
@click.option("--seconds", default=150.0, show_default=True, help="No further batch size is begun after this time.")
@click.option("--recorded", is_flag=True, help="The tagger records its decoding steps.")
@click.option("--compiled", is_flag=True, help="Also torch.compile's decoding, at the last batch size; compiling takes a minute.")
@click.option("--tiny", is_flag=True, help="A tiny model instead, to try the script.")
def main(*, out: Path, device: str, batches: str, new_tokens: int, seconds: float, recorded: bool, compiled: bool, tiny: bool) -> None:
    """Times it.

    Example: python -m benchmarks.vlm_rate --out vlm_rate.json
    """
    began = time.monotonic()
    model = _model(device, tiny)
    figures: dict[str, Any] = {"machine": _machine(device), "parameters": sum(p.numel() for p in model.model.parameters()), "batches": {}}
    figures |= {"new_tokens": new_tokens, "recorded": recorded, "dtype": str(model.model.dtype), "prompt_tokens": _prompt_tokens(model)}
    for size in map(int, batches.split(",")):
        if figures["batches"] and time.monotonic() - began > seconds:
            figures["left_out"] = f"batches of {size} and more: out of time"
            break
        plain = _generate_rate(model, size, new_tokens)
        ours = _tagger_rate(model, size, new_tokens, recorded)
        share = round(ours["notes_per_s"] / plain["notes_per_s"], 3)
        figures["batches"][size] = {**ours, "plain_notes_per_s": plain["notes_per_s"], "share_of_plain": share}
        _write(out, figures)
    if compiled:
        size = max(figures["batches"])
        figures["compiled"] = {"batch": size, **_generate_rate(model, size, new_tokens, cache_implementation="static")}
    figures["seconds"] = round(time.monotonic() - began, 1)
    _write(out, figures)


def _model(device: str, tiny: bool) -> VlmModel:
    handbook = load_handbook()
    texts = [text for pair in handbook.glossary().items() for text in pair]
    tokenizer = train_tokenizer(texts, [one.id for book in handbook.categories.values() for one in book.dimensions], 4096)
    names = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": VISION, "vision_end_token_id": VISION_END}
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    text, sight = TEXT, SIGHT
    if tiny:
        text = TEXT | TINY | {"vocab_size": 8192}
        sight = SIGHT | {"depth": 1, "hidden_size": 128, "intermediate_size": 128, "out_hidden_size": 64, "deepstack_visual_indexes": [0]}
    config = Qwen3VLConfig(text_config=text, vision_config=sight, tie_word_embeddings=True, **ids)
    config._attn_implementation = "sdpa"
    torch.manual_seed(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device != "cpu" else torch.float32)
    with torch.device(device):
        model = Qwen3VLForConditionalGeneration(config).eval()
    torch.set_default_dtype(before)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    card = VlmCard(style="compact", prompt=STYLES["compact"].version, handbook=handbook.version, image_pixels=SIDE * SIDE, version="random")
    return VlmModel(model, make_processor(tokenizer, SIDE * SIDE), card, "random weights of Qwen3-VL-2B's shape")


def _notes(count: int) -> tuple[list[NoteEvent], list[NoteMedia]]:
    """Notes of about the same length, all different."""
    glossary = list(load_handbook().glossary())
    chance, rng = random.Random(5), np.random.default_rng(5)
    notes, media = [], []
    for number in range(count):
        body = "，".join(chance.choice(glossary) for _ in range(50))[:190]
        notes.append(
            NoteEvent(
                type="note.published",
                note_id=f"n{number}",
                author_id="a",
                occurred_at=1,
                published_at=1,
                category="dressing",
                title="亚麻衬衫和阔腿裤",
                body=body,
            )
        )
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        media.append(NoteMedia([SeenImage(pixels, "image", 0)]))
    return notes, media


def _tagger(model: VlmModel, size: int, new_tokens: int, recorded: bool = False) -> VlmTagger:
    """A tagger whose answers never end by themselves."""
    bounds = Bounds(batch=size, tokens=10_000_000, new_tokens=new_tokens, recorded=recorded)
    tagger = VlmTagger(model, load_handbook(), 10, bounds, guards=Guards())
    endless = answer_schema(load_handbook(), "dressing", 100) | {"minItems": 90}
    endless["items"]["properties"]["text"]["minLength"] = 8
    tagger._prompts.schema = lambda category: endless  # type: ignore[method-assign]  # noqa: ARG005
    return tagger


def _prompt_tokens(model: VlmModel) -> int:
    notes, media = _notes(1)
    tagger = _tagger(model, 1, 1)
    asked = tagger._ask(notes[0], media[0])
    assert asked is not None
    return int(model.inputs([asked.text], [[media[0].images[0].pixels]], SIDE * SIDE)["input_ids"].shape[1])


def _tagger_rate(model: VlmModel, size: int, new_tokens: int, recorded: bool) -> dict[str, float]:
    """The tagger, from notes to tags."""
    notes, media = _notes(size)
    tagger = _tagger(model, size, new_tokens, recorded)
    seconds = _timed(model, lambda: tagger.tag(notes, media))
    peak = torch.cuda.max_memory_allocated() / 2**30 if model.device.type == "cuda" else 0.0
    rate = _rate(size, seconds)
    print(f"batch {size}: {rate['notes_per_s']:.2f} notes/s", file=sys.stderr, flush=True)
    return rate | {"tokens_per_s": round(rate["notes_per_s"] * new_tokens, 1), "peak_gib": round(peak, 2)}


@torch.inference_mode()
def _generate_rate(model: VlmModel, size: int, new_tokens: int, **given: Any) -> dict[str, float]:
    """``generate`` alone, as transformers brings it: inputs on the device, no schema, no parser."""
    notes, media = _notes(size)
    tagger = _tagger(model, size, new_tokens)
    asked = [one for note, of in zip(notes, media, strict=True) if (one := tagger._ask(note, of))]
    inputs = model.inputs([one.text for one in asked], [[image.pixels for image in one.prompt.images] for one in asked], SIDE * SIDE)
    vars(model.model).pop("get_compiled_call", None)
    fixed = {"do_sample": False, "max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "pad_token_id": model.pad}
    return _rate(size, _timed(model, lambda: model.model.generate(**inputs, **fixed, **given)))


def _timed(model: VlmModel, work: Callable[[], object]) -> list[float]:
    """Seconds of three runs."""
    seconds = []
    for _ in range(3):
        _wait(model)
        began = time.perf_counter()
        work()
        _wait(model)
        seconds.append(time.perf_counter() - began)
    return seconds


def _rate(size: int, seconds: list[float]) -> dict[str, float]:
    """The better of the later two runs; the first one warms up, records or compiles, which ``first_batch_s`` counts."""
    return {"notes_per_s": round(size / min(seconds[1:]), 3), "first_batch_s": round(seconds[0], 2)}


def _wait(model: VlmModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _machine(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"


def _write(out: Path, figures: dict[str, Any]) -> None:
    out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
