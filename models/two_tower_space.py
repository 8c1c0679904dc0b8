"""The two towers as they serve: ONNX files of ``models/tower_export.py``, fed with the features of ``models/tag_content.py``. No torch.

A vector hardly depends on the rest of its call: a row's features are summed in its own order, bags are padded to a width that follows from
their own length, rows of one width run together, and never fewer than two (onnxruntime multiplies a single row by another kernel). What is
left is the last bit: on citeulike-a one row in twenty differs by 6e-8 between calls of other sizes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.closed_form import Dense
from models.histories import read_history
from models.roles import ActedNote, TagEncoder
from models.tag_content import TagContent, load_content

NOTE_FILE, READER_FILE, NOTES_FILE = "note.onnx", "reader.onnx", "notes.json"
WIDTH_MIN = 16
ROWS_MAX = 256


class TowerCard(Struct, frozen=True):
    """``space.json`` of the two towers. ``own``: weight of a reader's tags and dense features beside the table of notes."""

    name: str
    kind: str
    dimension: int
    version: str
    encoder_version: str
    own: float


class Bagged(NamedTuple):
    """Input of one row: its tags and its notes as ids with weights, and its dense features."""

    tags: NDArray[np.int64]
    tag_weights: Dense
    dense: Dense
    notes: NDArray[np.int64]
    note_weights: Dense


NO_IDS, NO_WEIGHTS = np.zeros(0, np.int64), np.zeros(0, np.float32)


class TwoTowerSpace:
    """``Space`` over a directory that ``offline towers export`` wrote."""

    def __init__(self, directory: Path, encoder: TagEncoder, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        import onnxruntime

        self._card = msgspec.json.decode((directory / "space.json").read_bytes(), type=TowerCard)
        self.name, self.dimension, self.version = self._card.name, self._card.dimension, self._card.version
        self._encoder = encoder
        self._content: TagContent = load_content(directory)
        ids: list[str] = msgspec.json.decode((directory / NOTES_FILE).read_bytes(), type=list[str])
        self._rows = {note_id: row for row, note_id in enumerate(ids)}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._note, self._reader = (
            onnxruntime.InferenceSession(str(directory / file), options, providers=list(providers)) for file in (NOTE_FILE, READER_FILE)
        )

    def notes(self, tags: Sequence[Sequence[str]], confidences: Sequence[Sequence[float]] | None = None) -> Dense:
        """See ``Space``."""
        content = self._content.of_notes(tags, self._encoder, confidences)
        bags = content.tags
        rows: dict[int, Bagged] = {}
        for row, mine in enumerate(tags):
            if mine:
                span = slice(bags.indptr[row], bags.indptr[row + 1])
                rows[row] = Bagged(bags.indices[span], bags.data[span], content.dense[row], NO_IDS, NO_WEIGHTS)
        return self._vectors(self._note, len(tags), rows)

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> Dense:
        """See ``Space``. Notes that the towers were trained on count by the content they had then."""
        rows = {row: bagged for row, history in enumerate(histories) if (bagged := self._reader_row(history)) is not None}
        return self._vectors(self._reader, len(histories), rows)

    def _reader_row(self, history: Sequence[ActedNote]) -> Bagged | None:
        read = read_history(history, self._rows)
        if not read.length:
            return None
        known = read.weights / read.length
        tags, tag_weights, dense = NO_IDS, NO_WEIGHTS, np.zeros(self._content.dense, np.float32)
        if read.late:
            content = self._content.of_notes(read.late, self._encoder)
            weights = self._card.own * (read.late_weights / read.length)
            summed = content.tags.T @ weights
            tags = np.flatnonzero(summed)
            tag_weights, dense = summed[tags], np.asarray(content.dense.T @ weights, np.float32)
        return Bagged(tags, tag_weights, dense, read.rows, known)

    def _vectors(self, session: Any, count: int, rows: dict[int, Bagged]) -> Dense:
        """Vectors of the rows that have input, 0 for the others."""
        vectors = np.zeros((count, self.dimension), np.float32)
        groups: dict[tuple[int, int], list[int]] = {}
        for row, bagged in rows.items():
            groups.setdefault((_width(len(bagged.tags)), _width(len(bagged.notes))), []).append(row)
        for widths, members in groups.items():
            for start in range(0, len(members), ROWS_MAX):
                some = members[start : start + ROWS_MAX]
                feed = _feed([rows[row] for row in some], widths)
                wanted = {one.name: feed[one.name] for one in session.get_inputs()}
                vectors[some] = session.run(["vectors"], wanted)[0][: len(some)]
        return vectors


def _width(length: int) -> int:
    """The power of two that a bag of that length is padded to, at least ``WIDTH_MIN``; 1 for an empty one."""
    return max(WIDTH_MIN, 1 << (length - 1).bit_length()) if length else 1


def _feed(rows: Sequence[Bagged], widths: tuple[int, int]) -> dict[str, Any]:
    """Padded input of at least two rows."""
    count = max(len(rows), 2)
    feed: dict[str, Any] = {"dense": np.zeros((count, len(rows[0].dense)), np.float32)}
    for (ids, weights), width in zip((("tags", "tag_weights"), ("notes", "note_weights")), widths, strict=True):
        feed[ids], feed[weights] = np.zeros((count, width), np.int64), np.zeros((count, width), np.float32)
    for row, bagged in enumerate(rows):
        feed["dense"][row] = bagged.dense
        feed["tags"][row, : len(bagged.tags)], feed["tag_weights"][row, : len(bagged.tags)] = bagged.tags, bagged.tag_weights
        feed["notes"][row, : len(bagged.notes)], feed["note_weights"][row, : len(bagged.notes)] = bagged.notes, bagged.note_weights
    return feed
