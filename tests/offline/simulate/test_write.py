"""The commands: what they write is what publish and evaluate-recall read."""

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from offline.cli import offline
from offline.recall_data import load_dataset
from offline.recall_task import make_task
from offline.simulate.truth import read_truth, truth_by_note
from schemas.errors import BadSetting, MissingPrerequisite
from schemas.topics import INTERACTIONS, NOTE_EVENTS
from streams.memory import MemoryLog, MemoryPublisher
from streams.publishing import publish_lines


def run(*arguments: object) -> tuple[int, bytes, str]:
    """Exit status, standard output and standard error."""
    result = CliRunner().invoke(offline, ["simulate", *map(str, arguments)])
    return result.exit_code, result.stdout_bytes, result.stderr


def test_notes_on_stdout_are_lines_alone(tmp_path: Path) -> None:
    code, out, err = run("notes", "--notes", 30, "--truth", tmp_path / "t.jsonl")
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["note_id"] for line in lines] == [truth.note_id for truth in read_truth(tmp_path / "t.jsonl")]
    assert len(lines) == 30
    assert "30 notes" in err
    assert run("notes", "--notes", 10)[1].splitlines() == out.splitlines()[:10]
    assert run("notes", "--notes", 10, "--seed", 8)[1].splitlines() != out.splitlines()[:10]


def test_a_file_has_its_truths_beside_it(tmp_path: Path) -> None:
    code, out, _ = run("notes", "--notes", 12, "--out", tmp_path / "deep" / "notes.jsonl", "--json", "--start", 1000)
    assert code == 0
    report = json.loads(out)
    assert report["notes"] == 12
    assert report["files"] == [str(tmp_path / "deep" / "notes.jsonl"), str(tmp_path / "deep" / "notes.truth.jsonl")]
    assert len(truth_by_note(tmp_path / "deep" / "notes.truth.jsonl")) == 12
    first = json.loads((tmp_path / "deep" / "notes.jsonl").read_bytes().splitlines()[0])
    assert 1000 <= first["published_at"] < 100_000


def test_a_report_and_lines_do_not_share_stdout() -> None:
    code, out, err = run("notes", "--notes", 1, "--json")
    assert (code, out) == (2, b"")
    assert "--out FILE" in err
    assert run("interactions", "--json")[0] == 2
    assert run("notes", "--notes", 0)[0] == 2


def test_media_are_drawn_and_counted(tmp_path: Path) -> None:
    code, out, err = run("notes", "--notes", 4, "--media", tmp_path / "media", "--out", tmp_path / "n.jsonl", "--json")
    assert code == 0, err
    report = json.loads(out)
    files = {path.suffix for path in (tmp_path / "media").iterdir()}
    assert report["images"] == len(list((tmp_path / "media").glob("*.jpg"))) > 0
    assert report["clips"] == len(list((tmp_path / "media").glob("*.mp4")))
    assert files <= {".jpg", ".mp4", ".wav"}
    truths = read_truth(tmp_path / "n.truth.jsonl")
    assert report["voices"] + report["without_voice"] == sum(bool(truth.spoken) for truth in truths)
    assert ("espeak-ng" in err) == (report["without_voice"] > 0)


def test_publish_takes_every_line() -> None:
    for kind, topic, arguments in (("notes", NOTE_EVENTS, ()), ("interactions", INTERACTIONS, ("--users", 10))):
        code, out, _ = run(kind, "--notes", 60, *arguments)
        assert code == 0
        log = MemoryLog()
        log.create(topic)
        report = publish_lines(io.BytesIO(out), topic, MemoryPublisher(log))
        assert report.rejected == []
        assert report.published == len(out.splitlines()) >= 60


def test_a_dataset_is_a_task_for_recall(tmp_path: Path) -> None:
    code, out, err = run("dataset", tmp_path / "sim", "--notes", 300, "--users", 60, "--sessions", 12, "--json")
    assert code == 0, err
    assert json.loads(out)["notes"] == 300
    data = load_dataset(tmp_path / "sim")
    truths = truth_by_note(tmp_path / "sim" / "truth.jsonl")
    assert data.tags == [truths[note].tags() for note in data.notes]
    task = make_task(data, "random")
    assert task.profiles.shape[0] > 10


def test_a_truth_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite, match="simulate notes"):
        list(read_truth(tmp_path / "absent.jsonl"))
    (tmp_path / "bad.jsonl").write_text('{"note_id": 3}\n')
    with pytest.raises(BadSetting, match="line 1"):
        list(read_truth(tmp_path / "bad.jsonl"))
