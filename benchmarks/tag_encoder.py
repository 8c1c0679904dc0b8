"""The tag encoder against the sentence-transformers loop (``model.encode(texts)``) on the same CPU, threads and 5,000 distinct tags.

No text comes twice and the cache is off, so only encoding is timed. Both sides are warm; the sides alternate within a run. Another encoder
than the default's is measured where ``TAGSTREAM_TAG_ENCODER`` names one, on 500 tags and with no promise; its rows carry its name.
"""

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from benchmarks.report import Row
from models.encoder import load_tag_encoder
from models.encoder_export import find_encoder
from models.handbook import load_handbook
from schemas.settings import Settings, load

TAGS = 5_000
TAGS_OTHER = 500
PEER = "sentence-transformers encode()"
Encode = Callable[[list[str]], NDArray[np.float32]]


def make_tags(count: int = TAGS) -> list[str]:
    """Distinct English tags of 2 to 6 words: the handbook's terms and examples, plain and with its colours, materials and styles."""
    handbook = load_handbook()
    things = [term for book in handbook.categories.values() for term in book.terms]
    examples = [text for book in handbook.categories.values() for dimension in book.dimensions for text in dimension.examples]
    combined = [f"{modifier} {thing}" for modifier in handbook.shared.modifiers for thing in things]
    tags = sorted({text for text in examples + combined if 2 <= len(text.split()) <= 6})
    return random.Random(7).sample(tags, count)


def run() -> list[Row]:
    """Texts per second by precision and threads, and the least cosine to the peer's vectors."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    chosen = load()
    default = chosen.tag_encoder == Settings().tag_encoder
    tags = make_tags(TAGS if default else TAGS_OTHER)
    named = "" if default else f"{Path(chosen.tag_encoder).name}: "
    rows: list[Row] = []
    cosines: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="tagstream-bench-") as data:
        for threads in sorted({1, len(os.sched_getaffinity(0))}):
            ours = {precision: _our_encoder(chosen, data, precision, threads) for precision in ("float32", "int8")}
            peer = _peer_encoder(chosen, threads)
            speeds, vectors = _time_all({**ours, "peer": peer}, tags)
            for precision in ours:
                rows.append(
                    Row(
                        what=f"{named}{precision}, {threads} thread{'s' * (threads > 1)}",
                        unit="tags/s",
                        ours=speeds[precision],
                        peer=speeds["peer"],
                        peer_name=PEER,
                        ratio_at_least=3.0 if default else None,
                        note="the default" if precision == "float32" else "by TAGSTREAM_TAG_ENCODER_PRECISION=int8",
                    )
                )
                cosines[precision] = float((vectors[precision] * vectors["peer"]).sum(axis=1).min())
    floors = {"float32": 0.999, "int8": 0.99}
    return rows + [
        Row(what=f"{named}{precision}, least cosine to the peer", unit="cosine", ours=cosine, at_least=floors[precision])
        for precision, cosine in cosines.items()
    ]


def _our_encoder(chosen: Settings, data: str, precision: Any, threads: int) -> Encode:
    """Without centring, which the peer does not have; its cost is a few products a row."""
    changes = {"data": data, "tag_encoder_precision": precision, "encoder_threads": threads, "tag_encoder_cache": 0}
    return load_tag_encoder(replace(chosen, **changes, tag_encoder_centred=False)).encode


def _peer_encoder(chosen: Settings, threads: int) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(find_encoder(chosen.tag_encoder)), device="cpu")
    prompt = chosen.tag_encoder_prompt or None
    return lambda texts: np.asarray(model.encode(texts, prompt_name=prompt, show_progress_bar=False, normalize_embeddings=True), np.float32)


def _time_all(sides: dict[str, Encode], tags: Sequence[str]) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
    """Tags per second and vectors of each side; each side gets the tags in slices, in turn, so that all see the same machine."""
    for encode in sides.values():
        encode([f"warm {tag}" for tag in tags[:200]])
    spent = dict.fromkeys(sides, 0.0)
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in sides}
    step = len(tags) // 5
    for start in range(0, len(tags), step):
        for name, encode in sides.items():
            began = perf_counter()
            parts[name].append(encode(list(tags[start : start + step])))
            spent[name] += perf_counter() - began
    return {name: len(tags) / seconds for name, seconds in spent.items()}, {name: np.concatenate(found) for name, found in parts.items()}
