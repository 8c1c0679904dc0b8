"""The protocols against their own words, and that a leak is noticed."""

import numpy as np
import pytest

from offline.recall_data import FOREVER, Actions, RecallData
from offline.recall_task import Task, check_leaks, make_task, tag_content, within
from schemas.errors import BadSetting
from tests.offline.recall_world import community


def dataset(rows: list[tuple[int, int, float, int]], tags: list[list[str]], undone: dict[int, int] | None = None) -> RecallData:
    reader, note, weight, at = (np.array(column) for column in zip(*rows, strict=True))
    until = np.full(len(rows), FOREVER, np.int64)
    for row, moment in (undone or {}).items():
        until[row] = moment
    actions = Actions(reader, note, weight.astype(np.float32), weight > 1, at, until)
    readers = [f"u{i}" for i in range(int(reader.max()) + 1)]
    return RecallData("small", [f"n{i}" for i in range(len(tags))], readers, tags, None, actions, dated=True)


def test_random_protocol_word_by_word() -> None:
    data = community()
    task = make_task(data, "random")
    counts = {text: sum(text in tags for tags in data.tags) for tags in data.tags for text in tags}
    kept = {text for text, documents in counts.items() if 3 <= documents <= 0.2 * len(data.notes)}
    tagged = [row for row, tags in enumerate(data.tags) if kept & set(tags)]
    cold = np.random.default_rng(7).permutation(tagged)[: int(0.2 * len(data.notes))]
    assert task.cold.tolist() == cold.tolist()
    assert set(task.content.texts) == kept
    warm_of, cold_of = {u: dict[int, float]() for u in range(60)}, {u: set[int]() for u in range(60)}
    for reader, note, weight in zip(data.actions.reader, data.actions.note, data.actions.weight, strict=True):
        if note in cold:
            cold_of[reader].add(int(note))
        else:
            warm_of[reader][int(note)] = warm_of[reader].get(int(note), 0.0) + float(weight)
    assert task.reader.tolist() == [u for u in range(60) if warm_of[u] and cold_of[u]]
    for query, reader in enumerate(task.reader):
        profile, wanted = task.profiles[query], task.targets[query]
        assert dict(zip(profile.indices.tolist(), profile.data.tolist(), strict=True)) == warm_of[reader]
        assert set(task.cold[wanted.indices].tolist()) == cold_of[reader]
    check_leaks(task)


def test_ranks_are_the_places_among_all_of_a_notes_tags() -> None:
    tags = [["rare", "x", "y"], ["y", "x"], ["x"], ["y"], ["z", "common"], ["z", "common", "y"], ["z"], *[["common"]] * 13]
    content = tag_content(dataset([(0, 0, 1.0, 1)], tags), 3, 0.2)
    assert set(content.texts) == {"x", "y", "z"}
    for note, given in enumerate(tags):
        for text in set(given) & set(content.texts):
            column = content.texts.index(text)
            assert content.ranks[note, column] == given.index(text) + 1
    assert (content.ranks.indptr == content.counts.indptr).all()


def test_confidences_stand_where_the_tags_do() -> None:
    tags = [["rare", "x", "y"], ["y", "x"], ["x"], ["y", "x"]]
    sure = [[0.1, 0.2, 0.3], [0.4, 0.5], [0.6], [0.7, 0.8]]
    data = dataset([(0, 0, 1.0, 1)], tags)
    assert tag_content(data, 2, 1.0).confidences is None
    content = tag_content(data._replace(confidences=sure), 2, 1.0)
    assert set(content.texts) == {"x", "y"} and (content.confidences.indptr == content.counts.indptr).all()
    for note, given in enumerate(tags):
        for text in set(given) & set(content.texts):
            assert content.confidences[note, content.texts.index(text)] == np.float32(sure[note][given.index(text)])


def test_time_protocol_asks_once_per_note_with_all_that_was_earlier() -> None:
    tags = [["x"]] * 8 + [[]]
    rows = [(0, note, 1.0, 10 + note) for note in range(6)]
    rows += [(2, note, 1.0, 1) for note in range(6)]
    rows += [(0, 8, 3.0, 17), (1, 0, 2.0, 18), (0, 6, 1.0, 100), (0, 6, 2.0, 101), (0, 6, 3.0, 102), (0, 7, 2.0, 103), (1, 7, 3.0, 104)]
    task = make_task(dataset(rows, tags, undone={2: 50}), "time")
    assert sorted(task.cold.tolist()) == [6, 7]
    asked = {int(task.cold[task.targets[query].indices[0]]): sorted(task.profiles[query].indices.tolist()) for query in range(2)}
    assert asked == {6: [0, 1, 3, 4, 5], 7: [0, 1, 3, 4, 5, 6]}, "undone actions, untagged notes and the target's own click are left out"
    assert task.reader.tolist() == [0, 0], "reader 1 has too few earlier notes"
    seven = next(query for query in range(2) if 6 in task.profiles[query].indices)
    assert task.profiles[seven, 6] == 1 + 2 + 3
    assert task.profiles.shape[0] == 2
    check_leaks(task)


def test_pseudo_cold_notes_come_out_of_the_training_part_alone() -> None:
    for protocol in ("random", "time"):
        task = make_task(community(), protocol)  # type: ignore[arg-type]
        pseudo = within(task, seed=3)
        check_leaks(pseudo)
        assert set(pseudo.cold) <= set(task.warm)
        assert set(pseudo.training) < set(task.training)
        assert not set(pseudo.profiles.indices) & set(task.cold)


def planted(task: Task, what: str) -> Task:
    """The task with one leak."""
    if what == "history":
        history = task.history.tolil()
        history[0, task.cold[0]] = 1.0
        return task._replace(history=history.tocsr())
    if what == "profile":
        profiles = task.profiles.tolil()
        profiles[0, task.cold[task.targets[0].indices[0]]] = 1.0
        return task._replace(profiles=profiles.tocsr())
    late = np.flatnonzero(np.isin(task.data.actions.note, task.cold))
    return task._replace(training=np.append(task.training, late[-1]))


@pytest.mark.parametrize("protocol", ["random", "time"])
@pytest.mark.parametrize("what", ["history", "profile", "training"])
def test_a_planted_leak_is_noticed(protocol: str, what: str) -> None:
    task = make_task(community(), protocol)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        check_leaks(planted(task, what))


def test_what_cannot_be_split_is_said() -> None:
    data = community()
    with pytest.raises(BadSetting, match="no note has tags"):
        make_task(data._replace(tags=[[] for _ in data.notes]), "random")
    with pytest.raises(BadSetting, match="no time"):
        make_task(data._replace(dated=False), "time")
    alone = dataset([(0, 0, 1.0, 1), (1, 1, 1.0, 2)], [["x"], ["x"]])
    with pytest.raises(BadSetting, match="no reader"):
        make_task(alone, "time")
