"""What is written serves as what was trained: the same vectors from tags and histories alone, note by note."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models.roles import ActedNote
from models.spaces import load_space
from offline.cli import offline
from offline.export_spaces import EVALUATED, evaluate_spaces
from offline.recall_baselines import encode_tags
from offline.recall_content import build_content
from offline.recall_linear import fit_linear
from offline.recall_task import Task, make_task, whole_task
from offline.train_towers import tower_ranker, train_towers
from offline.write_spaces import write_spaces
from schemas.errors import BundleMismatch
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import CHOSEN, community, histories_of, space_ranker


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(community(), "random")


@pytest.fixture(scope="module")
def spaces(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "spaces"
    write_spaces(task, HashingEncoder(), CHOSEN, out, dimension=400)
    return out


def test_written_towers_score_as_the_trained_ones(task: Task, spaces: Path) -> None:
    content, _ = build_content(task, encode_tags(task, HashingEncoder()), CHOSEN.content)
    trained = train_towers(fit_linear(task, content, CHOSEN.linear), CHOSEN.tower)
    written = space_ranker(task, load_space(spaces / "two_tower", HashingEncoder()))
    assert np.allclose(written(task.profiles), tower_ranker(trained, task.cold)(task.profiles), atol=1e-5)


def test_the_written_linear_channel_ranks_as_the_exact_one(task: Task, spaces: Path) -> None:
    content, _ = build_content(task, encode_tags(task, HashingEncoder()), CHOSEN.content)
    exact = fit_linear(task, content, CHOSEN.linear).ranker()(task.profiles)
    written = space_ranker(task, load_space(spaces / "linear", HashingEncoder()))(task.profiles)
    each = [np.corrcoef(one, other)[0, 1] for one, other in zip(exact, written, strict=True)]
    assert min(each) > 0.999


@pytest.mark.parametrize(("name", "apart"), [("two_tower", 1e-6), ("linear", 0.0)])
def test_a_vector_depends_on_nothing_else_in_the_call_and_has_length_one(name: str, apart: float, task: Task, spaces: Path) -> None:
    space = load_space(spaces / name, HashingEncoder())
    notes = [*(task.data.tags[note] for note in task.cold[:4]), ["never seen before", "nor this"], []]
    together = space.notes(notes)
    assert together.shape == (6, space.dimension)
    assert np.allclose(together, np.vstack([space.notes([one]) for one in notes]), rtol=0.0, atol=apart)
    assert np.allclose(np.linalg.norm(together[:5], axis=1), 1.0, atol=1e-5)
    assert not together[5].any()
    stranger = [ActedNote("unheard of", 2.0, ["never seen before"])]
    twice = [ActedNote(note, 1.0, []) for note in task.data.notes[:40]]
    histories = [*histories_of(task, task.profiles[:3]), stranger, [], histories_of(task, task.profiles[:1])[0] + stranger, twice]
    readers = space.readers(histories)
    assert np.allclose(readers, np.vstack([space.readers([one]) for one in histories]), rtol=0.0, atol=apart)
    assert np.allclose(np.linalg.norm(readers[[0, 1, 2, 3, 5]], axis=1), 1.0, atol=1e-5)
    assert not readers[4].any()
    assert space.readers([]).shape == space.notes([]).shape == (0, space.dimension)


def test_another_encoder_or_kind_is_refused_by_name(spaces: Path, tmp_path: Path) -> None:
    other = HashingEncoder()
    other.version = "another"
    with pytest.raises(BundleMismatch, match="encoder_version"):
        load_space(spaces / "linear", other)
    (tmp_path / "space.json").write_text(
        json.dumps({"name": "x", "kind": "cubic", "dimension": 3, "encoder_version": HashingEncoder().version})
    )
    with pytest.raises(BundleMismatch, match="cubic"):
        load_space(tmp_path, HashingEncoder())
    with pytest.raises(BundleMismatch, match="space"):
        load_space(tmp_path / "nowhere", HashingEncoder())


def test_the_same_training_has_the_same_version(task: Task, spaces: Path, tmp_path: Path) -> None:
    write_spaces(task, HashingEncoder(), CHOSEN, tmp_path / "again", dimension=400)
    for name in ("linear", "two_tower"):
        assert load_space(tmp_path / "again" / name, HashingEncoder()).version == load_space(spaces / name, HashingEncoder()).version


def test_written_spaces_find_what_a_planted_taste_wants(task: Task, spaces: Path) -> None:
    figures = evaluate_spaces(task, spaces, HashingEncoder(), 5, range(task.profiles.shape[0]), say=lambda line: None)
    assert set(figures) == set(EVALUATED)
    by_chance = 5 / len(task.cold)
    assert all(row["recall@5"] > 2 * by_chance for row in figures.values())


def test_all_of_a_dataset_can_be_trained_on() -> None:
    task = whole_task(community(), "random")
    assert len(task.warm) == len(task.data.notes)
    assert (task.profiles.shape[0], len(task.cold)) == (0, 0)
    assert task.history.nnz


def test_an_existing_directory_is_not_overwritten(tmp_path: Path) -> None:
    done = CliRunner().invoke(offline, ["towers", "export", str(tmp_path), "--out", str(tmp_path)])
    assert "--out" in str(done.exception)
