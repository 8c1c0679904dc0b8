"""``tag-data extract`` against a server that counts: order, failures kept, nothing asked or opened twice, whatever kills it."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from offline.tag_data.cli import tag_data
from offline.tag_data.samples import media_of, read_samples
from schemas.errors import BadSetting
from tests.models.chat_server import ChatServer, chat_server

RESULTS = ("samples.jsonl", "steps.jsonl", "failures.jsonl")


def teacher(body: dict[str, Any]) -> str:
    """Tags of the words of the note's title, fewer from step to step; nothing to read for one that says so."""
    user = body["messages"][1]["content"]
    words = re.search("<title>(.*?)</title>", next(part["text"] for part in user if "<title>" in part.get("text", "")))
    assert words is not None
    step = len(body["messages"]) // 2
    if "unreadable" in words[1] and step == 2:
        return "no JSON today"
    texts = words[1].split()
    texts = texts[: len(texts) - (step >= 2)][:: -1 if step >= 3 else 1]
    return json.dumps([{"text": text, "dimension": "shoe_type", "source": "title"} for text in texts])


def write_notes(path: Path, media: Path | None = None, count: int = 6) -> Path:
    with path.open("w") as file:
        for number in range(count):
            title = f"alpha{number} beta gamma{' unreadable' if number == 2 else ''}"
            images = []
            if media is not None and number % 2:
                media.mkdir(exist_ok=True)
                pixels = np.random.default_rng(number).integers(0, 256, (12, 10, 3), np.uint8)
                Image.fromarray(pixels).save(media / f"{number}.png")
                images = [(media / f"{number}.png").as_uri()]
            note = {
                "type": "note.published", "note_id": f"n{number}", "author_id": "a", "occurred_at": 1, "published_at": 1,
                "category": "shoes", "title": title, "images": images,
            }  # fmt: skip
            file.write(json.dumps(note) + "\n")
    return path


def arguments(notes: Path, out: Path, server: ChatServer, *more: str) -> list[str]:
    return ["extract", str(notes), "--out", str(out), "--endpoint", server.url, "--model", "teacher", "--json", *more]


def run(*given: str) -> Result:
    return CliRunner().invoke(tag_data, list(given))


@pytest.fixture
def server() -> Any:
    with chat_server(teacher) as running:
        yield running


def test_a_run_writes_samples_in_order_and_keeps_what_failed(tmp_path: Path, server: ChatServer) -> None:
    notes = write_notes(tmp_path / "notes.jsonl")
    with notes.open("a") as file:
        file.write('{"type":"note.published"}\n' + notes.read_text().splitlines()[0] + "\n")
        file.write('{"type":"note.deleted","note_id":"n1","author_id":"a","occurred_at":2,"published_at":1}\n')
    result = run(*arguments(notes, tmp_path / "out", server, "--no-media"))
    told = json.loads(result.stdout)
    assert result.exit_code == 1 and [line["line"] for line in told["rejected"]] == [7], "a line that is no note makes it partly done"
    assert (told["notes"], told["samples"], told["failures"], told["again"]) == (6, 5, 1, 0), "the same event twice is one note"
    samples = list(read_samples(tmp_path / "out" / "samples.jsonl"))
    assert [one.note.note_id for one in samples] == ["n0", "n1", "n3", "n4", "n5"]
    assert [tag.text for tag in samples[0].tags] == ["beta", "alpha0"]
    [failure] = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text().splitlines())
    assert (failure["note_id"], failure["step"], failure["answer"], failure["again"]) == ("n2", "merge", "no JSON today", False)
    steps = [json.loads(line) for line in (tmp_path / "out" / "steps.jsonl").read_text().splitlines()]
    assert [len(one["steps"]) for one in steps] == [4, 4, 2, 4, 4, 4] and len(server.asked) == 22
    assert told["reasons"] == {f"merge: {failure['reason']}": 1} and told["spent"]["requests"] == 22
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["state"] == "finished" and manifest["counts"]["samples"] == 5 and manifest["versions"]["model"] == "teacher"


def test_a_second_run_asks_nothing_and_another_model_is_refused(tmp_path: Path, server: ChatServer) -> None:
    notes = write_notes(tmp_path / "notes.jsonl", count=3)
    out = tmp_path / "out"
    given = arguments(notes, out, server, "--no-media")
    assert run(*given, "--limit", "2").exit_code == 0
    first = {name: (out / name).read_bytes() for name in RESULTS}
    asked = len(server.asked)
    assert run(*given, "--limit", "2").exit_code == 0 and len(server.asked) == asked
    assert {name: (out / name).read_bytes() for name in RESULTS} == first
    assert json.loads(run(*given).stdout)["notes"] == 3 and len(server.asked) == asked + 2
    result = run(*given, "--max-tags", "3")
    assert isinstance(result.exception, BadSetting) and "max_tags 10, this run has 3" in str(result.exception)


def test_an_endpoint_that_goes_away_ends_the_run_and_the_next_one_goes_on(tmp_path: Path, server: ChatServer) -> None:
    notes, out = write_notes(tmp_path / "notes.jsonl"), tmp_path / "out"
    server.faults.extend([json.dumps([{"text": "alpha0", "dimension": "shoe_type", "source": "title"}]), *[404] * 60])
    result = run(*arguments(notes, out, server, "--no-media", "--concurrency", "1"))
    told = json.loads(result.stdout)
    assert result.exit_code == 1 and told["again"] >= 3 and told["again"] + told["not_reached"] == 6
    assert "run it again to go on" in result.stderr
    server.faults.clear()
    asked = len(server.asked)
    again = json.loads(run(*arguments(notes, out, server, "--no-media")).stdout)
    assert (again["samples"], again["failures"], again["not_reached"]) == (5, 1, 0)
    assert len(server.asked) - asked == 21, "the one answer of the first run is not asked for again"


def test_a_killed_run_goes_on_to_the_same_result_and_pays_for_nothing_twice(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, out = write_notes(tmp_path / "notes.jsonl", tmp_path / "media"), tmp_path / "killed"
    settings = {"MEDIA_ROOTS": str(tmp_path / "media"), "MEDIA_DECODERS": "1", "TRANSCRIBER_MODEL": ""}
    for name, value in settings.items():
        monkeypatch.setenv(f"TAGSTREAM_{name}", value)
    server.slow_s = 0.1
    given = arguments(notes, out, server, "--concurrency", "2")
    child = subprocess.Popen(
        [sys.executable, "-m", "tagstream", "offline", "tag-data", *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while len(server.asked) < 11:
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL and not (out / "samples.jsonl").exists()
    server.slow_s = 0
    result = run(*given)
    assert result.exit_code == 0, result.output
    recorded = [json.loads(line)["key"] for path in (out / "recordings").iterdir() for line in path.read_text().splitlines()]
    assert len(recorded) == len(set(recorded)) == 22
    assert len(server.asked) - 22 <= 2, "asked again is at most what was under way, whose answers never came"
    assert 9 <= 22 - json.loads(result.stdout)["spent"]["requests"] <= 13
    opened = [json.loads(line)["key"] for line in (out / "opened.log").read_text().splitlines()]
    assert len(opened) == len(set(opened)) == 6, "media are opened once"
    assert run(*arguments(notes, tmp_path / "whole", server)).exit_code == 0
    for name in RESULTS:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    seen = {one.note.note_id: media_of(one, out).images for one in read_samples(out / "samples.jsonl")}
    assert {name: len(images) for name, images in seen.items()} == {"n0": 0, "n1": 1, "n3": 1, "n4": 0, "n5": 1}
    pictures = [part for body in server.asked for part in body["messages"][1]["content"] if part["type"] == "image_url"]
    assert pictures and all(part["image_url"]["url"].startswith("data:image/jpeg;base64,") for part in pictures)
