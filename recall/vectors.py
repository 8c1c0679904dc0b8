"""What the note index on Milvus and its twin in memory agree on: which vectors can be stored, what is fresh, how a window is asked for."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recall.stores import Window
from schemas.errors import BundleMismatch, PoisonBatch
from schemas.writes import DropVector, PutVector

HOUR_MS = 3_600_000
SLACK_MS = HOUR_MS
"""A note enters the fresh collection up to this much older than ``fresh_hours``, so that clocks of writer and reader may differ."""


def now_ms() -> int:
    """Wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def window_filter(window: Window) -> str:
    """The window as a Milvus expression of integers only; "" when it is open on both ends."""
    bounds = [("published_at >= %d", window.since), ("published_at <= %d", window.until)]
    return " and ".join(text % at for text, at in bounds if at is not None)


def checked(puts: Iterable[PutVector], dimensions: Mapping[str, int]) -> dict[str, list[PutVector]]:
    """By space the last put of each note, each with a usable vector: one bad row would make the server refuse a whole batch.

    Args:
        dimensions: of each space that the index has.

    Raises:
        BundleMismatch: for a space that the index does not have.
        PoisonBatch: naming the note whose vector has another dimension or is not finite.
    """
    latest: dict[str, dict[str, PutVector]] = {}
    for put in puts:
        of_space = latest.setdefault(put.space, {})
        of_space.pop(put.note_id, None)
        of_space[put.note_id] = put
    for space, of_space in latest.items():
        known = dimension_in(dimensions, space)
        for put in of_space.values():
            shape = np.shape(put.vector)
            if shape != (known,):
                raise PoisonBatch(f"note {put.note_id!r}: vector of shape {shape}, the index has ({known},) in space {space}")
            if not np.isfinite(put.vector).all():
                raise PoisonBatch(f"note {put.note_id!r}: its vector in space {space} is not finite")
    return {space: list(of_space.values()) for space, of_space in latest.items()}


def checked_queries(vectors: Any, space: str, dimension: int) -> Any:
    """The query vectors as float32 of shape (n, dimension).

    Raises:
        BundleMismatch: when they have another dimension than the space.
    """
    queries = np.asarray(vectors, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise BundleMismatch(f"query vectors of shape {queries.shape}, space {space} of the note index holds ({dimension},)")
    return queries


def dimension_in(dimensions: Mapping[str, int], space: str) -> int:
    """Dimension of a space.

    Raises:
        BundleMismatch: when there is no such space.
    """
    if space not in dimensions:
        raise BundleMismatch(f"the note index has no space {space}, only {', '.join(dimensions)}")
    return dimensions[space]


def dropped(drops: Sequence[DropVector], spaces: Iterable[str]) -> dict[str, list[str]]:
    """By space the notes to remove from it, each once."""
    return {space: list(dict.fromkeys(one.note_id for one in drops if one.space in (None, space))) for space in spaces}
