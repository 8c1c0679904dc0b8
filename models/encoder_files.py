"""What the files of a sentence encoder's directory say, as transformers and sentence-transformers keep them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import BadSetting

Pooling = Literal["mean", "cls"]


def read_max_tokens(source: Path, config: Mapping[str, Any]) -> int:
    """Longest input in tokens: sentence-transformers' limit, else the tokenizer's, within the positions that the model has."""
    positions = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") not in ("bert", "distilbert"):  # RoBERTa and its kin start behind the padding id
        positions -= int(config.get("pad_token_id", 1)) + 1
    wanted = read_json(source / "sentence_bert_config.json").get("max_seq_length")
    wanted = wanted or read_json(source / "tokenizer_config.json").get("model_max_length")
    if config.get("use_bidirectional_attention"):  # what all layers of EmbeddingGemma see whole, so that its graph needs no mask
        positions = min(positions, int(config["sliding_window"]) // 2 + 1)
    return min(positions, int(wanted or positions))


def read_prompt(source: Path, name: str) -> str:
    """What the encoder wants before every text, as sentence-transformers keeps it; its default where ``name`` is empty.

    Raises:
        BadSetting: naming the prompts that there are.
    """
    kept = read_json(source / "config_sentence_transformers.json")
    prompts: dict[str, str] = kept.get("prompts") or {}
    if name and name not in prompts:
        raise BadSetting(f"tag_encoder_prompt: {source.name} has no prompt {name!r}; it has {', '.join(prompts) or 'none'}")
    return prompts.get(name or kept.get("default_prompt_name")) or ""


def read_pooling(source: Path) -> Pooling:
    """How token states become one vector, from the files sentence-transformers keeps; the mean where there are none."""
    pooling: Pooling = "mean"
    for module in read_json(source / "modules.json") or []:
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Pooling":
            pooling = _pooling(read_json(source / module["path"] / "config.json"))
        elif kind not in ("Transformer", "Dense", "Normalize"):
            raise BadSetting(
                f"tag_encoder: module {kind} of {source.name} is not supported; transformer, pooling, dense layers and normalisation are"
            )
    return pooling


def read_projection(source: Path) -> NDArray[np.float32] | None:
    """The product of an encoder's dense layers, (out, in); None where it has none. They stand behind the pooling, and a mean of products is
    the product of the mean, so the graph may multiply each token's state.

    Raises:
        BadSetting: for a layer with an activation or a bias, or weights that are not in ``model.safetensors``.
    """
    from safetensors.numpy import load_file

    projection: NDArray[np.float32] | None = None
    for module in read_json(source / "modules.json") or []:
        if str(module["type"]).rsplit(".", 1)[-1] != "Dense":
            continue
        place = source / module["path"]
        config = read_json(place / "config.json")
        if config.get("bias") or not str(config.get("activation_function", "")).endswith("Identity"):
            raise BadSetting(f"tag_encoder: dense layer {module['path']} of {source.name} has an activation or bias; neither is supported")
        if not (place / "model.safetensors").exists():
            raise BadSetting(f"tag_encoder: {place} has no model.safetensors; convert its weights")
        weight = load_file(place / "model.safetensors")["linear.weight"].astype(np.float32)
        projection = weight if projection is None else weight @ projection
    return projection


def _pooling(config: dict[str, Any]) -> Pooling:
    modes = {name.removeprefix("pooling_mode_") for name, on in config.items() if name.startswith("pooling_mode_") and on}
    mode = config.get("pooling_mode") or (modes.pop() if len(modes) == 1 else "+".join(sorted(modes)))
    if mode in ("mean", "mean_tokens"):
        return "mean"
    if mode in ("cls", "cls_token"):
        return "cls"
    raise BadSetting(f"tag_encoder: pooling {mode!r} is not supported; mean and cls are")


def read_json(path: Path) -> Any:
    """What a file holds; an empty object where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}
