"""Tag texts to unit vectors by a pretrained sentence encoder through onnxruntime; torch is never imported here.

A row never depends on the other texts of a call. Texts are grouped by their exact number of tokens, so there is no padding; matrix
products, normalisations and softmax work row by row; pooling adds token by token in a fixed order. What would break it, and is
therefore not used: padded batches (a masked softmax sums in another order), dynamic quantisation per tensor (its scale comes from the
whole batch), and onnxruntime's ReduceMean (another kernel for a batch of one).

Chinese, Japanese and Korean texts, where the encoder does not know their script: see ``models/gloss.py``. Multilingual encoders to set
instead: ``sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2``, ``intfloat/multilingual-e5-small``, ``BAAI/bge-m3``.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.encoder_centring import centred
from models.encoder_export import EncoderManifest, exported
from models.gloss import Glossary, blend, has_cjk, sketch_characters
from schemas.errors import BadSetting
from schemas.settings import Settings

Vectors = NDArray[np.float32]

_TOKENS_PER_RUN = 256
_PROBE = "红色跑鞋适合初学者的缓震推荐美食旅行护肤品猫咪编织日落民宿咖啡"


def load_tag_encoder(settings: Settings, glossary: Mapping[str, str] | None = None) -> "OnnxTagEncoder":
    """The tag encoder of the settings, exported into the data directory first where that has not been done.

    Args:
        settings: ``data``, ``tag_encoder`` and what goes with it.
        glossary: term -> English for an encoder that does not know Chinese; the handbook's by default.

    Raises:
        BadSetting: when there is no such encoder, it cannot be exported, or onnxruntime here lacks a provider.
    """

    def shipped() -> Mapping[str, str]:
        from models.handbook import load_handbook

        return load_handbook().glossary()

    return open_tag_encoder(encoder_directory(settings), settings, shipped if glossary is None else lambda: glossary)


def encoder_directory(settings: Settings) -> Path:
    """Where the exported tag encoder of the settings is; it is exported now if it is not there."""
    cache = Path(settings.data, "encoders")
    precision, prompt = settings.tag_encoder_precision, settings.tag_encoder_prompt
    return exported(settings.tag_encoder, precision, cache, prompt, centred=settings.tag_encoder_centred)


def open_tag_encoder(directory: Path, settings: Settings, glossary: Callable[[], Mapping[str, str]]) -> "OnnxTagEncoder":
    """An exported tag encoder.

    Args:
        directory: what ``exported`` returned, or a copy of it.
        settings: providers, threads and cache.
        glossary: asked only for an encoder that does not know Chinese.
    """
    providers = [name.strip() for name in settings.tag_encoder_providers.split(",") if name.strip()]
    model = SentenceModel(directory, providers, settings.encoder_threads)
    return OnnxTagEncoder(model, None if model.knows_cjk else Glossary(glossary()), settings.tag_encoder_cache)


class SentenceModel:
    """An exported sentence encoder: tokenizer, onnxruntime session and pooling.

    Args:
        directory: what ``encoder_export.exported`` returned.
        providers: onnxruntime execution providers in order of preference.
        threads: threads of one call; 0 = all cores.

    Raises:
        BadSetting: naming the provider that is not there.
    """

    def __init__(self, directory: Path, providers: Sequence[str], threads: int) -> None:
        from tokenizers import Tokenizer

        self.manifest = msgspec.json.decode((directory / "manifest.json").read_bytes(), type=EncoderManifest)
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._tokenizer.enable_truncation(self.manifest.max_tokens)
        self._session = _open_session(directory / "model.onnx", providers, threads)
        known = sum(self.knows(character) for character in _PROBE)
        self.knows_cjk = known >= 0.95 * len(_PROBE)

    def knows(self, text: str) -> bool:
        """Whether the tokenizer has a token for every part of the text."""
        unknown = self.manifest.unknown
        return unknown is None or unknown not in self._tokenizer.encode(text).ids

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimension), rows of length 1."""
        prompt = self.manifest.prompt
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast([prompt + text for text in texts])]
        by_length: dict[int, list[int]] = {}
        for row, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(row)
        vectors = np.empty((len(texts), self.manifest.dimension), np.float32)
        for length, rows in by_length.items():
            step = max(1, _TOKENS_PER_RUN // length)
            for start in range(0, len(rows), step):
                chosen = rows[start : start + step]
                batch = np.array([tokens[row] for row in chosen], np.int64)
                vectors[chosen] = self._pool(self._session.run(None, {"ids": batch})[0])
        return vectors if self.manifest.centring is None else centred(vectors, self.manifest.centring)

    def _pool(self, hidden: Vectors) -> Vectors:
        """(texts, tokens, dimension) -> unit rows (texts, dimension), adding in one fixed order."""
        pooled = hidden[:, 0].astype(np.float32)
        if self.manifest.pooling == "mean":
            for position in range(1, hidden.shape[1]):
                pooled += hidden[:, position]
            pooled /= np.float32(hidden.shape[1])
        lengths = np.sqrt(np.square(pooled).sum(axis=1, keepdims=True))
        return np.asarray(pooled / np.maximum(lengths, np.float32(1e-12)), np.float32)


def _open_session(path: Path, providers: Sequence[str], threads: int) -> Any:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    for name in providers:
        if name not in available:
            raise BadSetting(f"tag_encoder_providers: {name} is not in this onnxruntime; it has {', '.join(available)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    if providers and session.get_providers()[0] != providers[0]:
        raise BadSetting(f"tag_encoder_providers: {providers[0]} is in this onnxruntime but does not start here; set CPUExecutionProvider")
    return session


class OnnxTagEncoder:
    """The ``TagEncoder`` in use: a sentence model, the glossary way for scripts it does not know, and a bounded cache. Thread-safe.

    Args:
        model: the sentence model.
        glossary: None with a model that knows Chinese.
        cache: vectors kept in memory, least recently used go first; 0 = none.
    """

    def __init__(self, model: SentenceModel, glossary: Glossary | None, cache: int) -> None:
        self._model = model
        self._glossary = glossary
        self._capacity = cache
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()
        manifest = model.manifest
        self.dimension = manifest.dimension
        parts = [Path(manifest.name).name, manifest.source[:12], manifest.precision, f"r{manifest.revision}"]
        parts += [f"p{manifest.prompt_name}"] * bool(manifest.prompt_name) + ["c"] * (manifest.centring is not None)
        self.version = "-".join(parts + ([f"g{glossary.digest}"] if glossary else []))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (len(texts), dimension), rows of length 1; a row never depends on the other texts of the call."""
        found = self._recall(texts)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            fresh = dict(zip(missing, self._encode(missing), strict=True))
            self._remember(fresh)
            found.update(fresh)
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = found[text]
        return vectors

    def _encode(self, texts: list[str]) -> Vectors:
        """Distinct texts, uncached: those of an unknown script by gloss and sketch, all others by the model."""
        glossary = self._glossary
        if glossary is None:
            return self._model.encode(texts)
        foreign = {row for row, text in enumerate(texts) if not text.isascii() and (has_cjk(text) or not self._model.knows(text))}
        if not foreign:
            return self._model.encode(texts)
        glosses = {row: glossary.gloss(texts[row]) for row in foreign}
        encoded = self._model.encode([glosses[row].text if row in foreign else text for row, text in enumerate(texts)])
        for row, gloss in glosses.items():
            known = encoded[row].copy() if gloss.coverage > 0.0 else None
            encoded[row] = blend(known, sketch_characters(texts[row], self.dimension), gloss.coverage)
        return encoded

    def _recall(self, texts: Sequence[str]) -> dict[str, Vectors]:
        found: dict[str, Vectors] = {}
        with self._lock:
            for text in texts:
                vector = self._cache.get(text)
                if vector is not None:
                    self._cache.move_to_end(text)
                    found[text] = vector
        return found

    def _remember(self, fresh: dict[str, Vectors]) -> None:
        with self._lock:
            for text, vector in fresh.items():
                self._cache[text] = vector.copy()
                self._cache.move_to_end(text)
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
