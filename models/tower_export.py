"""The two towers to ONNX: what torch trains is written as ``models/two_tower_space.py`` reads it."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from models.closed_form import Content
from models.towers import Bag, Tower
from models.two_tower_space import NOTE_FILE, READER_FILE

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


def folded(reader: Tower, content: Content, own: float) -> Tower:
    """The reader's tower with, in its table of notes, also what each note's own content adds, so that serving looks up one row for a note
    that was trained on. Exact: all input is summed before the layers.

    Args:
        content: of the notes of the table.
        own: weight of the content beside the table.
    """
    assert reader.history is not None
    tower = Tower(reader.shape)
    tower.load_state_dict(reader.state_dict())
    tags = content.tags
    bag = Bag(*(torch.from_numpy(part.astype(kind)) for part, kind in ((tags.indices, "i8"), (tags.indptr[:-1], "i8"), (tags.data, "f4"))))
    with torch.no_grad():
        assert tower.history is not None
        tower.history.weight += own * (reader.tags_alone(bag) + reader.dense(torch.from_numpy(content.dense)))
    return tower


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
