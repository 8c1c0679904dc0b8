"""The task laid out in the stores: recall() finds what the matrices find, and weights are those of the dataset."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profile import history_at
from models.profile_update import open_profile
from offline.export_spaces import evaluate_spaces, served_figures
from offline.recall_task import make_task
from offline.served_recall import _act, _actions, serve_task
from offline.write_spaces import write_spaces
from recall.reader import KnownNotes
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community
from tests.offline.test_export_spaces import CHOSEN


@given(st.integers(1, 40))
def test_actions_weigh_what_the_profile_says(weight: int) -> None:
    actions = _actions(float(weight))
    assert sum({"click": 1, "like": 2, "favorite": 3}[action] for action in actions) == weight
    assert actions.count("like") <= 1 and actions.count("favorite") <= 1


def test_histories_are_the_tasks() -> None:
    task = make_task(community(), "random")
    served = serve_task(task, {}, {}, HashingEncoder())
    _act(task, served, range(5), 0)
    notes = KnownNotes(served.stores.notes)
    for query in range(5):
        profile = open_profile(served.stores.profiles.read([f"q{query}"])[f"q{query}"].record, served.stores.settings)
        found = {one.note_id: one.weight for one in history_at(profile, served.now, served.stores.settings, notes.tags_of)}
        row = task.profiles[query]
        assert found == {task.data.notes[note]: float(weight) for note, weight in zip(row.indices, row.data, strict=True)}


def test_recall_finds_about_what_the_matrices_find(tmp_path: Path) -> None:
    task = make_task(community(readers=80, notes=300, topics=6, actions=20), "random")
    encoder = HashingEncoder()
    write_spaces(task, encoder, CHOSEN, tmp_path / "spaces", dimension=200)
    whole = evaluate_spaces(task, tmp_path / "spaces", encoder, 10)["merge"]
    served = served_figures(task, tmp_path / "spaces", encoder, 10, 1000, say=lambda line: None)
    assert served["queries"] == task.targets.shape[0]
    assert served["same_by_matrix"] == whole["recall@10"]
    assert served["recall@10"] == pytest.approx(whole["recall@10"], abs=0.05)
    assert served["recall@10"] > 2 * 10 / len(task.cold)
