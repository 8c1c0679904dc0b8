"""Exports: once, whole or not at all, and refusals that say what to do."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.encoder_export import exported, hash_files
from schemas.errors import BadSetting

WIDTH, INNER, TOKENS = 8, 16, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "shoes", "a"]
CONFIG = {
    "model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": INNER,
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 16, "pad_token_id": 0,
}  # fmt: skip


def write_encoder(directory: Path, seed: int = 1, **config: object) -> Path:
    """A BERT of one layer with random weights and a WordPiece tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    directory.mkdir()
    random = np.random.default_rng(seed)
    layer = "encoder.layer.0."
    square, up = (WIDTH, WIDTH), (INNER, WIDTH)
    dense = {f"attention.self.{part}": square for part in ("query", "key", "value")}
    dense |= {"attention.output.dense": square, "intermediate.dense": up, "output.dense": up[::-1]}
    shapes = {f"embeddings.{name}_embeddings.weight": (rows, WIDTH) for name, rows in (("word", 7), ("position", 16), ("token_type", 2))}
    for name, shape in dense.items():
        shapes |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    for name in ("embeddings.LayerNorm", layer + "attention.output.LayerNorm", layer + "output.LayerNorm"):
        shapes |= {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
    save_file({name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(CONFIG | config))
    tokenizer = Tokenizer(models.WordPiece({token: number for number, token in enumerate(TOKENS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def test_exports_asked_for_at_once_give_one_directory(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "tiny")
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(3) as pool:
        targets = set(pool.map(lambda _: exported(str(source), "float32", cache), range(3)))
    (target,) = targets
    assert {path.name for path in target.iterdir()} == {"model.onnx", "tokenizer.json", "manifest.json"}
    assert {path.name for path in cache.iterdir()} == {target.name, f"{target.name}.lock"}
    written = (target / "model.onnx").stat().st_mtime_ns
    assert exported(str(source), "float32", cache) == target
    assert (target / "model.onnx").stat().st_mtime_ns == written


def test_other_weights_are_another_export(tmp_path: Path) -> None:
    one, other = write_encoder(tmp_path / "one"), write_encoder(tmp_path / "two", seed=2)
    assert hash_files(one) != hash_files(other)
    assert hash_files(one) == hash_files(write_encoder(tmp_path / "three"))


def test_a_failed_export_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "gelu_new", hidden_act="gelu_new")
    with pytest.raises(BadSetting, match="tag_encoder_precision: int8 is for bert"):
        exported(str(source), "int8", tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no such directory!", "neither a directory nor a hub id"), ("nobody/no-such-encoder", "the hub gave no model")],
)
def test_an_encoder_that_is_not_there_is_refused_offline(tmp_path: Path, name: str, reason: str) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom models.encoder_export import exported\nfrom schemas.errors import BadSetting\n"
        "try:\n    exported(sys.argv[1], 'float32', Path(sys.argv[2]))\nexcept BadSetting as error:\n    print(error)\n"
    )
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    finished = subprocess.run([sys.executable, "-c", program, name, str(tmp_path)], env=environ, capture_output=True, text=True, check=True)
    assert finished.stdout.startswith("tag_encoder: ")
    assert reason in finished.stdout


def test_a_directory_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadSetting, match=r"no config\.json"):
        exported(str(tmp_path / "empty"), "float32", tmp_path / "cache")
