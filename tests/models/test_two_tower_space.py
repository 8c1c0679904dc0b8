"""The exported towers against torch, on input of every kind; and that serving needs no torch."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from scipy import sparse

from models.closed_form import Content
from models.roles import ActedNote
from models.tag_content import ContentSpec, TagContent, fit_content
from models.tower_export import export_towers, folded
from models.towers import Bag, Features, Tower, TowerShape
from models.two_tower_space import TowerCard, TwoTowerSpace
from tests.models.hashing_encoder import HashingEncoder

OWN = 0.6
TAGS = [f"tag {number}" for number in range(30)]
NOTES = [TAGS[start : start + 1 + start % 7] for start in range(20)]


class World:
    """Two random towers and their export."""

    def __init__(self, directory: Path, radius: float) -> None:
        torch.manual_seed(0)
        counts = sparse.csr_matrix(np.array([[float(tag in note) for tag in TAGS] for note in NOTES], np.float32))
        vectors = HashingEncoder().encode(TAGS)
        self.content: TagContent = fit_content(counts, TAGS, vectors, np.arange(len(NOTES)), ContentSpec(buckets=8))
        self.matrix = self.content.of_counts(counts, TAGS, vectors)
        sizes = {"tags": self.content.width, "dense": self.content.dense, "dimension": 16, "hidden": 12, "buckets": 0, "radius": radius}
        self.note, self.reader = Tower(TowerShape(**sizes)), Tower(TowerShape(**sizes, notes=len(NOTES)))
        for tower in (self.note, self.reader):
            torch.nn.init.normal_(tower.second.weight)
        export_towers(folded(self.reader, self.matrix, OWN), self.note, directory)
        self.content.save(directory)
        (directory / "notes.json").write_bytes(msgspec.json.encode([f"n{row}" for row in range(len(NOTES))]))
        card = TowerCard("two_tower", "two_tower", 16, "1", HashingEncoder.version, OWN)
        (directory / "space.json").write_bytes(msgspec.json.encode(card))
        self.space = TwoTowerSpace(directory, HashingEncoder())

    def torch_reader(self, history: list[ActedNote]) -> np.ndarray:
        """As training sees it: content of every note, rows of those in the table."""
        rows = [int(acted.note_id[1:]) if acted.note_id.startswith("n") else -1 for acted in history]
        weights = np.array([acted.weight for acted in history], np.float32)
        weights /= np.sqrt(np.square(weights).sum())
        new = self.content.of_notes([acted.tags for acted in history], HashingEncoder())
        mine = [self.matrix.rows([row]) if row >= 0 else new.rows([at]) for at, row in enumerate(rows)]
        content = Content(sparse.vstack([one.tags for one in mine]), np.vstack([one.dense for one in mine]))
        tags, dense = OWN * content.gather(weights[None])[:, : self.content.width], OWN * (weights @ content.dense)[None]
        known = [(row, weight) for row, weight in zip(rows, weights, strict=True) if row >= 0]
        bag = Bag(torch.tensor([row for row, _ in known], dtype=torch.int64), torch.tensor([0]), torch.tensor([w for _, w in known]))
        every = Bag(torch.arange(self.content.width), torch.tensor([0]), torch.from_numpy(tags[0]))
        with torch.no_grad():
            return np.asarray(self.reader(Features(every, torch.from_numpy(dense), bag))[0])


@pytest.fixture(scope="module", params=[0.0, 2.0], ids=["plain", "radius"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("towers"), request.param)


def test_note_vectors_are_those_of_torch(world: World) -> None:
    notes = [*NOTES, ["never seen"], ["never seen", "tag 3"], [*TAGS, *(f"new {number}" for number in range(40))]]
    content = world.content.of_notes(notes, HashingEncoder())
    bags = content.tags
    bag = Bag(torch.from_numpy(bags.indices.astype("i8")), torch.from_numpy(bags.indptr[:-1].astype("i8")), torch.from_numpy(bags.data))
    with torch.no_grad():
        want = world.note(Features(bag, torch.from_numpy(content.dense))).numpy()
    found = world.space.notes(notes)
    assert np.abs(found[:, :-1] - want[:, :-1]).max() < 1e-5
    assert np.abs(found[:, -1] ** 2 - want[:, -1] ** 2).max() < 1e-5, "the root of what is left to length 1 blows up rounding near 0"


def test_reader_vectors_are_those_of_torch(world: World) -> None:
    generator = np.random.default_rng(1)
    histories = [
        [ActedNote(f"n{row}", float(generator.uniform(0.1, 3)), NOTES[row]) for row in generator.permutation(20)[:count]]
        for count in (1, 2, 7, 19)
    ]
    late = [ActedNote("later", 2.0, ["never seen", "tag 4"]), ActedNote("later still", 0.5, ["tag 5"])]
    histories += [late, [*histories[2], *late], [*late, *histories[3], *late]]
    found = world.space.readers([[], *histories, [ActedNote("unknown", 1.0, [])]])
    assert not found[0].any() and not found[-1].any()
    assert np.abs(found[1:-1] - np.stack([world.torch_reader(history) for history in histories])).max() < 1e-5


def test_serving_needs_no_torch() -> None:
    program = "import sys, models.spaces, models.two_tower_space, models.linear_space; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "False"
