"""The closed form as it serves: a note's content and a reader's smoothed history through one map, as an inner product.

The reader side is exact: history Q, its projection R and E, each brought to the length of Q as in ``models/closed_form.py``, from tables of
what each known note adds. Only the dimension of the map cuts something off. A note's vector x is scaled by a radius and completed to length
1, [x, sqrt(1 - |x|^2)] (Bachrach et al., RecSys 2014), so that an index of unit vectors ranks by the inner product.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy import sparse

from models.closed_form import Content, Dense, Smoothing
from models.histories import History, read_history
from models.roles import ActedNote, TagEncoder
from models.tag_content import TagContent, load_content

RADIUS_SLACK = 1.5
TABLES = ("item_map", "own", "popularity", "basis", "gram", "shared", "items", "between", "near")


class LinearCard(Struct, frozen=True):
    """``space.json`` of the linear channel. ``own``, ``near``: weights of Q and E; ``radius``: greatest length of a note that is told
    apart."""

    name: str
    kind: str
    dimension: int
    version: str
    encoder_version: str
    own: float
    near: float
    radius: float


def linear_tables(content: Content, item_map: Dense, smoothing: Smoothing) -> tuple[dict[str, NDArray[Any]], float]:
    """The tables of a space, and its radius.

    Args:
        content: of the known notes.
        item_map: W, (features, dimension).
    """
    own = content.times(item_map)
    tables: dict[str, NDArray[Any]] = {
        "item_map": item_map,
        "own": own,
        "popularity": smoothing.popularity,
        "basis": smoothing.basis,
        "gram": smoothing.basis.T @ smoothing.basis,
        "shared": smoothing.basis.T @ own,
        "items": smoothing.items,
        "between": smoothing.between.astype(np.float16),
        "near": smoothing.between @ own[smoothing.items],
    }
    return tables, RADIUS_SLACK * max(float(np.linalg.norm(own, axis=1).max(initial=0.0)), 1e-9)


class LinearSpace:
    """``Space`` over a directory that ``offline towers export`` wrote; tables are memory-mapped."""

    def __init__(self, directory: Path, encoder: TagEncoder) -> None:
        self._card = msgspec.json.decode((directory / "space.json").read_bytes(), type=LinearCard)
        self.name, self.dimension, self.version = self._card.name, self._card.dimension, self._card.version
        self._encoder = encoder
        self._content: TagContent = load_content(directory)
        ids: list[str] = msgspec.json.decode((directory / "notes.json").read_bytes(), type=list[str])
        self._rows = {note_id: row for row, note_id in enumerate(ids)}
        self._tables: dict[str, NDArray[Any]] = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in TABLES}

    def notes(self, tags: Sequence[Sequence[str]], confidences: Sequence[Sequence[float]] | None = None) -> Dense:
        """See ``Space``."""
        content = self._content.of_notes(tags, self._encoder, confidences)
        vectors = project(content, self._tables["item_map"]) / np.float32(self._card.radius)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        inside = vectors / np.maximum(lengths, 1.0)
        rest = np.sqrt(np.maximum(1.0 - np.square(inside).sum(axis=1, keepdims=True), 0.0))
        complete = np.hstack([inside, rest]).astype(np.float32)
        complete[[row for row, mine in enumerate(tags) if not mine]] = 0.0
        return complete

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> Dense:
        """See ``Space``. Known notes count by the content they were trained with."""
        vectors = np.zeros((len(histories), self.dimension), np.float32)
        for row, history in enumerate(histories):
            mixed = self._reader(read_history(history, self._rows))
            vectors[row, :-1] = mixed / max(float(np.linalg.norm(mixed)), 1e-12)
        return vectors

    def _reader(self, history: History) -> Dense:
        """Q, R and E of a history through the map, shape (dimension - 1,)."""
        tables, card, rows, weights = self._tables, self._card, history.rows, history.weights
        mixed = np.zeros(self.dimension - 1, np.float32)
        if len(rows):
            length = np.linalg.norm(weights)
            latent = (weights * tables["popularity"][rows]) @ tables["basis"][rows]
            shared = np.sqrt(max(float(latent @ tables["gram"] @ latent), 0.0))
            mixed += card.own * (weights @ tables["own"][rows]) + (latent @ tables["shared"]) * (length / max(shared, 1e-9))
            places = np.searchsorted(tables["items"], rows)
            among = np.flatnonzero(tables["items"].take(places, mode="clip") == rows) if len(tables["items"]) else places[:0]
            if len(among) and card.near:
                used = places[among]
                near = np.linalg.norm(weights[among] @ tables["between"][used].astype(np.float32))
                mixed += card.near * (weights[among] @ tables["near"][used]) * (length / max(float(near), 1e-9))
        if history.late:
            content = self._content.of_notes(history.late, self._encoder)
            mixed += card.own * (history.late_weights @ project(content, tables["item_map"]))
        return mixed


def project(content: Content, item_map: Dense) -> Dense:
    """Content times W, each row summed in its own order, so that a row is the same to the bit whatever else is in the call."""
    return np.asarray(sparse.hstack([content.tags, sparse.csr_matrix(content.right)]).tocsr() @ item_map, np.float32)
