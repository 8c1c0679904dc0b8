"""`tagstream consume`: jobs side by side, counts as JSON, and what happens when one cannot run."""

import json
import signal
import time

import msgspec
from click.testing import CliRunner

from consumers.cli import consume
from tests.e2e.running import start, tagstream, tagstream_json


def test_each_job_reports_its_counts(settings):
    tagstream(settings, "topics", "create")
    found = tagstream_json(settings, "consume", "all", "--until-idle", "1")
    nothing = {"handled": 0, "dead_lettered": 0, "skipped_as_applied": 0, "stale": 0}
    assert found == {"tag-notes": nothing, "index-notes": nothing, "update-profiles": nothing}


def test_index_notes_waits_for_what_tag_notes_is_still_at_work_on(settings, tmp_path):
    """tag-notes sits on a small batch for longer than idleness takes."""
    tagstream(settings, "topics", "create")
    note = {
        "type": "note.published",
        "note_id": "n",
        "author_id": "a",
        "occurred_at": 1,
        "published_at": 1,
        "title": "Crimson running shoes",
    }
    (tmp_path / "n.jsonl").write_text(json.dumps(note) + "\n")
    tagstream(settings, "publish", "notes", str(tmp_path / "n.jsonl"))
    slow = msgspec.structs.replace(settings, tag_notes_batch_age_s=4.0)
    found = tagstream_json(slow, "consume", "all", "--until-idle", "0.2")
    assert (found["tag-notes"]["handled"], found["index-notes"]["handled"]) == (1, 1)


def test_a_job_that_cannot_run_ends_the_others_and_is_named(settings):
    """Without topics no job can run; the command says which ended and exits 1."""
    process = start(settings, "consume", "tag-notes", "update-profiles")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "tagstream topics create" in said
    assert "ended early: tag-notes" in said


def test_sigterm_ends_every_job_in_order(settings):
    tagstream(settings, "topics", "create")
    process = start(settings, "consume", "tag-notes", "update-profiles")
    assert process.stderr is not None
    said = [process.stderr.readline(), process.stderr.readline()]
    assert sorted(said) == ["tag-notes: running\n", "update-profiles: running\n"]
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_server_that_is_away_is_named(settings):
    gone = msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1/0")
    process = start(gone, "consume", "update-profiles", "--until-idle", "1")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "redis is not available" in said
    assert "Traceback" not in said


def test_wrong_usage_exits_2():
    assert CliRunner().invoke(consume, ["no-such-job"]).exit_code == 2
    assert CliRunner().invoke(consume, []).exit_code == 2
    assert "Example:" in CliRunner().invoke(consume, ["--help"]).output
