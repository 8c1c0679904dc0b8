"""Reading datasets: our own layout with all that events may do, and citeulike-a's files."""

import json
from pathlib import Path

import pytest

from offline.recall_data import FOREVER, coarse_tags, detect_layout, load_dataset, with_tagged, with_tags
from schemas.errors import BadSetting, MissingPrerequisite
from schemas.events import Tag


def note(note_id: str, at: int, kind: str = "note.published", **more: object) -> dict[str, object]:
    return {"type": kind, "note_id": note_id, "author_id": "a", "occurred_at": at, "published_at": at, **more}


def action(number: int, note_id: str, kind: str, at: int, reader: str = "u") -> dict[str, object]:
    return {"event_id": f"e{number}", "user_id": reader, "note_id": note_id, "action": kind, "occurred_at": at}


def write(directory: Path, notes: list[dict[str, object]], actions: list[dict[str, object]]) -> Path:
    for name, rows in (("notes.jsonl", notes), ("interactions.jsonl", actions)):
        (directory / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def test_newest_note_wins_deleted_ones_go_and_tags_are_unique(tmp_path: Path) -> None:
    notes = [
        note("a", 5, tags=["x", "y", "x"]), note("b", 5, tags=["z"]), note("a", 9, "note.updated", tags=["new"]),
        note("a", 7, tags=["old"]),
        note("b", 6, "note.deleted"), note("c", 1),
    ]  # fmt: skip
    data = load_dataset(write(tmp_path, notes, [action(1, "a", "like", 10), action(2, "b", "like", 11), action(3, "?", "like", 12)]))
    assert (data.notes, data.tags) == (["a", "c"], [["new"], []])
    assert data.actions.note.tolist() == [0]
    assert data.dated


def test_actions_count_as_in_a_profile(tmp_path: Path) -> None:
    events = [
        action(1, "a", "favorite", 30), action(2, "a", "like", 10), action(3, "a", "like", 11), action(4, "a", "unlike", 20),
        action(5, "a", "like", 21), action(6, "a", "view", 22), action(7, "a", "click", 23), action(8, "a", "click", 24),
        action(8, "a", "click", 24), action(9, "a", "unfavorite", 1), action(10, "a", "impression", 2),
    ]  # fmt: skip
    actions = load_dataset(write(tmp_path, [note("a", 1, tags=["x"])], events)).actions
    assert list(zip(actions.at.tolist(), actions.weight.tolist(), actions.liked.tolist(), actions.undone_at.tolist(), strict=True)) == [
        (10, 2.0, True, 20), (21, 2.0, True, FOREVER), (23, 1.0, False, FOREVER), (24, 1.0, False, FOREVER), (30, 3.0, True, FOREVER),
    ]  # fmt: skip


def test_citeulike_files(tmp_path: Path) -> None:
    (tmp_path / "tags.dat").write_text("alpha\nbeta\n")
    (tmp_path / "item-tag.dat").write_text("2 1 0\n0\n1 1\n")
    (tmp_path / "users.dat").write_text("2 0 2\n1 1\n")
    data = load_dataset(tmp_path)
    assert detect_layout(tmp_path) == "citeulike"
    assert data.tags == [["beta", "alpha"], [], ["beta"]]
    assert list(zip(data.actions.reader.tolist(), data.actions.note.tolist(), strict=True)) == [(0, 0), (0, 2), (1, 1)]
    assert not data.dated
    assert with_tags(data, {"cu-1": ["x", "x"]}).tags == [[], ["x"], []]


def test_a_taggers_tags_keep_their_confidences_and_others_have_none(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path, [note("a", 1, tags=["x"]), note("b", 2, tags=["x"])], []))
    tags = [
        Tag(text=text, dimension="", rank=rank, confidence=sure)
        for rank, (text, sure) in enumerate([("y", 0.75), ("z", 0.5), ("y", 0.1)], 1)
    ]
    tagged = with_tagged(data, {"b": tags})
    assert (tagged.tags, tagged.confidences) == ([[], ["y", "z"]], [[], [0.75, 0.5]])
    assert data.confidences is None and with_tags(tagged, {"a": ["x"]}).confidences is None


def test_coarse_tags_are_genres_or_categories(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path, [note("ml-1", 1, tags=["x"], category="food"), note("ml-2", 1, tags=["y"])], []))
    assert coarse_tags(data, tmp_path).tags == [["food"], []]
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A,Drama|War\n2,B,(no genres listed)\n")
    assert coarse_tags(data, tmp_path).tags == [["Drama", "War"], []]
    (tmp_path / "bare").mkdir()
    bare = write(tmp_path / "bare", [note("a", 1)], [])
    with pytest.raises(BadSetting, match="no category"):
        coarse_tags(load_dataset(bare), bare)


def test_errors_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite, match=r"no notes\.jsonl"):
        load_dataset(tmp_path)
    write(tmp_path, [note("a", 1, tags=["x"])], [action(1, "a", "likes", 1)])
    with pytest.raises(BadSetting, match=r"interactions\.jsonl: line 1: \$\.action"):
        load_dataset(tmp_path)
    write(tmp_path, [note("a", 1, tags="x")], [])
    with pytest.raises(BadSetting, match=r"notes\.jsonl: line 1"):
        load_dataset(tmp_path)
    (tmp_path / "interactions.jsonl").unlink()
    write(tmp_path, [note("a", 1)], [])
    assert load_dataset(tmp_path).actions.note.tolist() == []
