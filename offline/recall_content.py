"""What a note's tags say about it, as the features that the closed form and the towers share.

Sparse: tf-idf of known tags, and of all other tags in hashed columns behind them, rows at length 1. Dense: the idf-weighted mean of the
tags' encoder vectors, centred on the warm notes, then a constant and the logarithm of the number of tags.
"""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy import sparse

from models.closed_form import Content
from models.towers import tag_ids
from offline.recall_baselines import idf, unit_rows
from offline.recall_task import Task

POOLING_POWER = 1.5
TAGS_MAX = 12_000


class ContentSpec(Struct, frozen=True):
    """``idf_power``: of the sparse part. ``semantic``, ``static``: factors of the encoder part and of the constants, beside a sparse part
    of length 1. ``buckets``: hashed columns for tags without one of their own. ``tags_max``: tags with a column, the most used."""

    idf_power: float = 1.0
    semantic: float = 1.0
    static: float = 1.0
    buckets: int = 256
    tags_max: int = TAGS_MAX


class Vocabulary(Struct, frozen=True):
    """Known tags by column, as learned from a task: on a warm note, and on more than one note of all."""

    columns: dict[str, int]
    spec: ContentSpec


def build_content(task: Task, tag_vectors: NDArray[np.float32], spec: ContentSpec) -> tuple[Content, Vocabulary]:
    """Content of all notes of the dataset.

    Args:
        tag_vectors: encoder vectors of ``task.content.texts``, (tags, dimension).
    """
    counts, texts = task.content.counts, task.content.texts
    vocabulary = Vocabulary(_columns(counts, texts, task.warm, spec.tags_max), spec)
    rarity = idf(counts)
    columns = np.array(tag_ids(texts, vocabulary.columns, spec.buckets), np.int64)
    width = len(vocabulary.columns) + spec.buckets
    place = sparse.csr_matrix((rarity**spec.idf_power, (np.arange(len(texts)), columns)), shape=(len(texts), width))
    return Content(unit_rows(counts @ place), _dense(counts, rarity, tag_vectors, task.warm, spec)), vocabulary


def _columns(counts: Any, texts: list[str], warm: NDArray[np.int64], tags_max: int) -> dict[str, int]:
    on_warm = np.bincount(counts[warm].indices, minlength=len(texts))
    on_all = np.bincount(counts.indices, minlength=len(texts))
    useful = np.flatnonzero((on_warm > 0) & (on_all > 1))
    kept = np.sort(useful[np.argsort(-on_warm[useful], kind="stable")[:tags_max]])
    return {texts[column]: at for at, column in enumerate(kept)}


def _dense(
    counts: Any, rarity: NDArray[np.float32], tag_vectors: NDArray[np.float32], warm: NDArray[np.int64], spec: ContentSpec
) -> NDArray[np.float32]:
    pooled = counts @ (rarity[:, None] ** POOLING_POWER * tag_vectors)
    pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-9)
    tagged = np.diff(counts.indptr) > 0
    used = warm[tagged[warm]]
    pooled[tagged] -= pooled[used if len(used) else warm].mean(axis=0)
    number = np.log1p(np.diff(counts.indptr))
    static = np.stack([np.ones(len(number)), number / max(float(number[warm].mean()), 1e-9)], axis=1)
    return np.hstack([spec.semantic * pooled, spec.static * static]).astype(np.float32)
