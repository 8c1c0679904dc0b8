"""What the files of an encoder's directory say, and refusals that name what is not supported."""

import json
from pathlib import Path

import pytest

from models.encoder_files import read_max_tokens, read_pooling, read_projection, read_prompt
from schemas.errors import BadSetting
from tests.models.test_encoder_export import CONFIG


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "word_embedding_dimension": 8}, "cls"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_pooling_is_read_from_the_modules(tmp_path: Path, config: dict[str, object], expected: str) -> None:
    assert read_pooling(tmp_path) == "mean"
    write_modules(tmp_path, config)
    assert read_pooling(tmp_path) == expected


def test_pooling_and_modules_that_are_not_supported_are_named(tmp_path: Path) -> None:
    write_modules(tmp_path, {"pooling_mode_max_tokens": True})
    with pytest.raises(BadSetting, match="pooling 'max_tokens' is not supported"):
        read_pooling(tmp_path)
    write_modules(tmp_path, {"pooling_mode_mean_tokens": True}, "LSTM")
    with pytest.raises(BadSetting, match="module LSTM"):
        read_pooling(tmp_path)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"bias": False, "activation_function": "torch.nn.modules.activation.Tanh"}, "has an activation or bias"),
        ({"bias": True, "activation_function": "torch.nn.modules.linear.Identity"}, "has an activation or bias"),
        ({"bias": False, "activation_function": "torch.nn.modules.linear.Identity"}, r"has no model\.safetensors"),
    ],
)
def test_a_dense_layer_that_is_not_supported_is_named(tmp_path: Path, config: dict[str, object], reason: str) -> None:
    write_modules(tmp_path, {"pooling_mode_mean_tokens": True})
    assert read_projection(tmp_path) is None
    write_modules(tmp_path, {"pooling_mode_mean_tokens": True}, "Dense")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadSetting, match=reason):
        read_projection(tmp_path)


def write_modules(directory: Path, pooling: dict[str, object], *more: str) -> None:
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    kinds = ("Transformer", "Pooling", *more, "Normalize")
    modules = [{"path": "1_Pooling" if kind == "Pooling" else "", "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (directory / "modules.json").write_text(json.dumps(modules))


def test_longest_input_is_the_smallest_of_what_is_said(tmp_path: Path) -> None:
    roberta = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert read_max_tokens(tmp_path, roberta) == 512
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1e30}))
    assert read_max_tokens(tmp_path, CONFIG) == 16
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    assert read_max_tokens(tmp_path, CONFIG) == 12


def test_the_prompt_is_the_one_named_else_the_default(tmp_path: Path) -> None:
    assert read_prompt(tmp_path, "") == ""
    kept = {"prompts": {"query": "query: ", "topic": "topic: "}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(kept))
    assert (read_prompt(tmp_path, ""), read_prompt(tmp_path, "topic")) == ("query: ", "topic: ")
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(kept | {"default_prompt_name": None}))
    assert read_prompt(tmp_path, "") == ""
    with pytest.raises(BadSetting, match="has no prompt 'Topic'; it has query, topic"):
        read_prompt(tmp_path, "Topic")
