"""The two towers as they serve: exported to ONNX, fed with the features of ``models/tag_content.py``."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct
from scipy import sparse
from torch import Tensor, nn

from models.closed_form import Dense
from models.histories import stack_histories
from models.roles import ActedNote, TagEncoder
from models.tag_content import TagContent, load_content
from models.towers import Tower

NOTE_FILE, READER_FILE, NOTES_FILE = "note.onnx", "reader.onnx", "notes.json"
OPSET = 17


class PaddedTower(nn.Module):
    """A tower over padded bags, as ONNX runs it: ids (B, T) with weights (B, T), 0 for padding, dense (B, D), and for readers the bag of
    notes, (B, H) twice."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(
        self, tags: Tensor, tag_weights: Tensor, dense: Tensor, notes: Tensor | None = None, note_weights: Tensor | None = None
    ) -> Tensor:
        tower = self.tower
        mixed = (tower.tags.weight[tags] * tag_weights.unsqueeze(-1)).sum(1) + tower.dense(dense)
        if notes is not None and note_weights is not None and tower.history is not None:
            mixed = mixed + (tower.history.weight[notes] * note_weights.unsqueeze(-1)).sum(1)
        return tower.finish(mixed)


class TowerCard(Struct, frozen=True):
    """``space.json`` of the two towers. ``own``: weight of a reader's tags and dense features beside the table of notes."""

    name: str
    kind: str
    dimension: int
    version: str
    encoder_version: str
    own: float


def export_towers(reader: Tower, note: Tower, directory: Path) -> None:
    """Writes both towers as ONNX files."""
    bags = {"tags": {0: "batch", 1: "tags"}, "tag_weights": {0: "batch", 1: "tags"}, "dense": {0: "batch"}}
    history = {"notes": {0: "batch", 1: "notes"}, "note_weights": {0: "batch", 1: "notes"}}
    example: tuple[Tensor, ...] = (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3), torch.zeros(2, note.shape.dense))
    more: tuple[Tensor, ...] = (torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 4))
    for tower, inputs, axes, file in ((note, example, bags, NOTE_FILE), (reader, example + more, bags | history, READER_FILE)):
        with warnings.catch_warnings():  # of an exporter that is to be replaced; what it wrote is compared with the towers by tests
            warnings.simplefilter("ignore")
            torch.onnx.export(
                PaddedTower(tower).eval(),
                inputs,
                str(directory / file),
                input_names=list(axes),
                output_names=["vectors"],
                dynamic_axes=axes | {"vectors": {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,
            )


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

    def notes(self, tags: Sequence[Sequence[str]]) -> Dense:
        """See ``Space``."""
        content = self._content.of_notes(tags, self._encoder)
        vectors = self._run(self._note, len(tags), {**_padded("tags", "tag_weights", content.tags), "dense": content.dense})
        vectors[[row for row, mine in enumerate(tags) if not mine]] = 0.0
        return vectors

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> Dense:
        """See ``Space``."""
        stacked = stack_histories(histories, self._rows)
        content = self._content.of_notes(stacked.tags, self._encoder)
        lengths = np.sqrt(np.asarray(stacked.weights.multiply(stacked.weights).sum(axis=1)).ravel())
        scaled = (sparse.diags(1.0 / np.maximum(lengths, 1e-9)) @ stacked.weights).tocsr().astype(np.float32)
        feed = _padded("tags", "tag_weights", (self._card.own * (scaled @ content.tags)).tocsr())
        feed["dense"] = np.asarray(self._card.own * (scaled @ content.dense), np.float32)
        feed |= _padded("notes", "note_weights", stacked._replace(weights=scaled).known(len(self._rows)))
        vectors = self._run(self._reader, len(histories), feed)
        vectors[lengths <= 0] = 0.0
        return vectors

    def _run(self, session: Any, rows: int, feed: dict[str, Any]) -> Dense:
        if not rows:
            return np.zeros((0, self.dimension), np.float32)
        return np.array(session.run(["vectors"], feed)[0], np.float32)


def _padded(ids: str, weights: str, matrix: Any) -> dict[str, Any]:
    """Rows of a CSR matrix as padded ids and weights, at least one column."""
    counts = np.diff(matrix.indptr)
    width = max(int(counts.max(initial=0)), 1)
    places = np.arange(width)[None, :] < counts[:, None]
    padded_ids, padded_weights = np.zeros(places.shape, np.int64), np.zeros(places.shape, np.float32)
    padded_ids[places], padded_weights[places] = matrix.indices, matrix.data
    return {ids: padded_ids, weights: padded_weights}
