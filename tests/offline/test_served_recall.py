"""The task laid out in the stores: each method that serves ranks as its definition says, by ``recall()`` alone."""

from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.pooling import note_vector, user_vector
from models.profile import history_at
from models.profile_update import open_profile
from offline.choose_recall import standardise
from offline.recall_baselines import idf, tag_index
from offline.recall_metrics import judge_scores
from offline.recall_task import Task, make_task
from offline.served_recall import CHANNELS, Served, _actions, at_most, drawn_queries, judge_served, ranking, serve_task
from offline.write_spaces import load_spaces, write_spaces
from recall.reader import KnownNotes
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import CHOSEN, community, space_ranker

K = 10
QUERIES = list(range(12))
Scores = NDArray[np.float32]


def say(line: str) -> None:
    assert line


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(community(readers=80, notes=300, actions=20), "random")


@pytest.fixture(scope="module")
def served(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Served:
    out = tmp_path_factory.mktemp("served") / "spaces"
    write_spaces(task, HashingEncoder(), CHOSEN, out, dimension=200)
    return serve_task(task, HashingEncoder(), *load_spaces(out, HashingEncoder()), range(task.profiles.shape[0]))


def best(task: Task, scores: Scores) -> list[list[str]]:
    """The first notes by score; equal ones in the candidates' order."""
    order = np.argsort(-scores.astype(np.float64).round(6), axis=1, kind="stable")[:, :K]
    return [[task.data.notes[task.cold[place]] for place in row] for row in order]


def found(served: Served, method: str) -> list[list[str]]:
    return [ranking(served, method, query, K) for query in QUERIES]


def index_scores(task: Task, power: float) -> Scores:
    return tag_index(task, power)(task.profiles[QUERIES])


def test_the_tag_index_ranks_by_the_sum_over_shared_tags(served: Served) -> None:
    task, scores = served.task, index_scores(served.task, 0.0)
    sharing = (scores > 0).sum(axis=1)
    wanted = [row[: int(count)] for row, count in zip(best(task, scores), sharing, strict=True)]
    assert found(served, "tag_index_raw") == wanted


def test_rare_tags_count_more(served: Served) -> None:
    task = served.task
    counts = task.content.counts
    notes = len(task.warm) + len(task.cold)
    documents = np.asarray(counts.sum(axis=0)).ravel()
    rarity = np.log((notes + 1) / documents)
    scores = np.asarray(((task.profiles[QUERIES] @ counts).multiply(rarity) @ counts[task.cold].T).todense(), np.float32)
    assert np.abs(rarity - idf(counts)).max() < 0.1
    assert [row[:5] for row in found(served, "tag_index_idf")] == [row[:5] for row in best(task, scores)]


def test_tag_embedding_ranks_by_the_pooled_vectors_of_the_highest_scored_tags(served: Served) -> None:
    task, encoder = served.task, HashingEncoder()
    counts = task.content.counts
    kept = set(task.content.texts)
    notes = []
    for note in task.cold:
        tags = [text for text in task.data.tags[note] if text in kept]
        notes.append(note_vector(encoder.encode(tags), np.ones(len(tags)), np.arange(1, len(tags) + 1)))
    profiles = np.asarray((task.profiles[QUERIES] @ counts).todense())
    readers = []
    for row in profiles:
        liked = sorted((float(-score), text) for score, text in zip(row, task.content.texts, strict=True) if score > 0)[:64]
        vector = user_vector(encoder.encode([text for _, text in liked]), [-score for score, _ in liked])
        assert vector is not None
        readers.append(vector)
    assert found(served, "tag_embedding") == best(task, np.stack(readers) @ np.stack(notes).T)


@pytest.mark.parametrize("name", ["linear", "two_tower"])
def test_a_learned_channel_ranks_by_its_space(name: str, served: Served) -> None:
    task = served.task
    assert found(served, name) == best(task, space_ranker(task, served.stores.spaces[name])(task.profiles[QUERIES]))


def test_the_merge_is_that_of_standard_scores_with_the_newest_first_where_they_do_not_tell(served: Served) -> None:
    task = served.task
    assert served.stores.weights == CHOSEN.weights
    assert len(task.cold) < 200, "each channel proposes all"
    total = 1.0 / (61.0 + np.arange(len(task.cold)))[None, :]
    for name, space in served.stores.spaces.items():
        total = total + CHOSEN.weights[name] * standardise(space_ranker(task, space)(task.profiles[QUERIES]))
    total = total + CHOSEN.weights["tag_index_idf"] * standardise(index_scores(task, 1.0))
    same = [len(set(one) & set(other)) for one, other in zip(found(served, "merge"), best(task, total), strict=True)]
    assert np.mean(same) > 0.95 * K, "the idf of serving counts one note more"


def test_figures_are_those_of_the_ranking_and_a_short_answer_is_not_filled(served: Served, task: Task) -> None:
    figures = judge_served(served, "linear", QUERIES, K, say)
    scores = space_ranker(task, served.stores.spaces["linear"])(task.profiles[QUERIES])
    assert np.allclose(figures, judge_scores(scores, task.targets[QUERIES], K))
    one = int(np.flatnonzero(np.diff(task.targets.indptr))[0])
    everything = len(task.cold) + 5
    answer = set(ranking(served, "tag_index_raw", one, everything))
    wanted = {task.data.notes[task.cold[place]] for place in task.targets[one].indices}
    assert len(answer) < len(task.cold)
    assert judge_served(served, "tag_index_raw", [one], everything, say)[0, 0] == len(answer & wanted) / len(wanted)


@given(st.integers(1, 40))
def test_actions_weigh_what_the_profile_says(weight: int) -> None:
    actions = _actions(float(weight))
    assert sum({"click": 1, "like": 2, "favorite": 3}[action] for action in actions) == weight
    assert actions.count("like") <= 1 and actions.count("favorite") <= 1


@pytest.mark.parametrize("protocol", ["random", "time"])
def test_histories_are_the_tasks_newest_first(protocol: str) -> None:
    task = make_task(community(), protocol)  # type: ignore[arg-type]
    served = serve_task(task, HashingEncoder(), {}, {}, QUERIES)
    notes = KnownNotes(served.stores.notes)
    actions = task.data.actions
    for query in QUERIES:
        profile = open_profile(served.stores.profiles.read([f"q{query}"])[f"q{query}"].record, served.stores.settings)
        history = history_at(profile, served.now, served.stores.settings, notes.tags_of)
        row = task.profiles[query]
        assert {one.note_id: one.weight for one in history} == {
            task.data.notes[note]: float(weight) for note, weight in zip(row.indices, row.data, strict=True)
        }
        mine = actions.reader == task.reader[query]
        first = {task.data.notes[note]: at for note, at in zip(actions.note[mine][::-1], actions.at[mine][::-1], strict=True)}
        times = [first[one.note_id] for one in history]
        assert times == sorted(times, reverse=True)


def test_methods_that_learn_nothing_need_no_space() -> None:
    task = make_task(community(), "random")
    served = serve_task(task, HashingEncoder(), {}, {}, QUERIES)
    assert [len(ranking(served, name, 0, 3)) for name in ("tag_index_raw", "tag_embedding")] == [3, 3]
    assert set(CHANNELS) > {"linear", "two_tower", "merge"}


def test_queries_are_all_or_a_sample_that_stays_the_same(task: Task) -> None:
    total = task.profiles.shape[0]
    assert drawn_queries(task, total) == drawn_queries(task, 10**9) == list(range(total))
    some = drawn_queries(task, 7)
    assert some == sorted(set(some)) and len(some) == 7 and some == drawn_queries(task, 7)
    assert at_most(None, None, "all") > 10**9 and at_most(None, None, "12") == 12
    for wrong in ("0", "-1", "some"):
        with pytest.raises(click.BadParameter):
            at_most(None, None, wrong)


def test_spaces_come_back_with_the_weights(task: Task, tmp_path: Path) -> None:
    write_spaces(task, HashingEncoder(), CHOSEN, tmp_path / "spaces", dimension=50)
    spaces, weights = load_spaces(tmp_path / "spaces", HashingEncoder())
    assert set(spaces) == {"linear", "two_tower"} and weights == CHOSEN.weights
