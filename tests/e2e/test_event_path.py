"""Notes and interactions through the real commands on the real servers: what the stores hold at the end, however it got there."""

import json
import time
from pathlib import Path

import msgspec
import pytest

from offline.samples.load import SHOWCASE_READERS, load_gold, load_interactions, load_notes
from schemas.codec import encode
from schemas.events import NoteEvent
from schemas.settings import Settings
from tests.e2e.oracle import expected_scores
from tests.e2e.running import NOTE_JOBS, kill, start, tagstream, tagstream_json


def write(path, events):
    path.write_bytes(b"\n".join(map(encode, events)) + b"\n")
    return str(path)


def tags_by_note(settings: Settings, notes_file: str) -> dict[str, list[str]]:
    """What `tagstream tag` says of the newest event of each note."""
    lines = [json.loads(line) for line in tagstream(settings, "tag", notes_file, "--json").splitlines()]
    events = [json.loads(line) for line in Path(notes_file).read_text(encoding="utf-8").splitlines()]
    assert [line["note_id"] for line in lines] == [event["note_id"] for event in events]
    newest: dict[str, tuple[int, list[str]]] = {}
    for event, line in zip(events, lines, strict=True):
        if event["note_id"] not in newest or event["occurred_at"] > newest[event["note_id"]][0]:
            newest[event["note_id"]] = event["occurred_at"], [tag["text"] for tag in line["tags"]]
    return {note_id: tags for note_id, (_, tags) in newest.items()}


@pytest.mark.parametrize("order", ["tags first", "actions first"])
def test_sample_community(settings, tmp_path, order):
    """Profiles are the oracle's whether the tags or the actions come first; recall keeps what it promises."""
    settings = msgspec.structs.replace(settings, profile_max_tags=0, profile_pending_hours=10_000.0)
    now = time.time_ns() // 1_000_000
    notes, events = load_notes(tmp_path, now), load_interactions(now)
    notes_file, events_file = write(tmp_path / "notes.jsonl", notes), write(tmp_path / "events.jsonl", events)
    tagstream_json(settings, "topics", "create")
    assert tagstream_json(settings, "publish", "notes", notes_file) == {"published": len(notes), "rejected": []}
    assert tagstream_json(settings, "publish", "interactions", events_file)["published"] == len(events)
    handled = {}
    for job in (*NOTE_JOBS, "update-profiles") if order == "tags first" else ("update-profiles", *NOTE_JOBS):
        handled |= tagstream_json(settings, "consume", job, "--until-idle", "2")
    assert {job: counts["handled"] for job, counts in handled.items()} == {
        "tag-notes": len(notes), "index-notes": len(notes), "update-profiles": len(events)
    }  # fmt: skip
    assert all(counts["dead_lettered"] == 0 for counts in handled.values())

    tags = tags_by_note(settings, notes_file)
    want = expected_scores(events, tags, now)
    for reader in sorted(want):
        profile = tagstream_json(settings, "profile", reader, "--as-of", str(now), "-k", "100000")
        assert {tag["text"]: tag["score"] for tag in profile["tags"]} == pytest.approx(want[reader], abs=1e-6), reader
        scores = [tag["score"] for tag in profile["tags"]]
        assert scores == sorted(scores, reverse=True)
    if order == "tags first":
        check_recall(settings, events, tags, want, {note.note_id for note in notes if note.type == "note.deleted"})


def check_recall(settings, events, tags, want, deleted):
    acted = {(event.user_id, event.note_id) for event in events if event.action != "impression"}
    for reader in SHOWCASE_READERS:
        found = tagstream_json(settings, "recall", reader, "--fresh-within", "all", "--explain")
        assert len(found["results"]) == 20
        assert found["degraded"] == []
        for result in found["results"]:
            assert result["note_id"] not in deleted
            assert (reader, result["note_id"]) not in acted
            for reason in result["reasons"]:
                assert want[reader][reason["profile_tag"]] > 0
                assert reason["note_tag"] in tags[result["note_id"]]
                assert {(reader, action["note_id"]) for action in reason["actions"]} <= acted
        assert found["results"][0]["reasons"]
    runner = tagstream_json(settings, "recall", "u-runner-en", "--fresh-within", "all", "-k", "1")
    assert runner["results"][0]["note_id"] == "n-shoes-05", "the long-run shoe is what a runner who likes cushioning has not seen"
    stranger = tagstream_json(settings, "recall", "a reader nobody knows", "--fresh-within", "all", "-k", "5")
    assert [result["channels"][0]["name"] for result in stranger["results"]] == ["fresh"] * 5


def test_updates_and_deletions_reach_every_store(settings, tmp_path):
    """An update moves the note in the tag index, a deletion takes it out, and a late copy of an older event changes nothing."""
    at = time.time_ns() // 1_000_000 - 60_000
    note_id = 'a "note" {with} every/thing 鞋'
    first = NoteEvent(
        type="note.published", note_id=note_id, author_id="a", category="shoes", title="Crimson trail running shoes",
        body="Grippy lugs and a rock plate.", occurred_at=at, published_at=at,
    )  # fmt: skip
    second = msgspec.structs.replace(first, type="note.updated", title="Navy suede loafers", body="Hand stitched.", occurred_at=at + 1_000)
    gone = msgspec.structs.replace(first, type="note.deleted", occurred_at=at + 2_000)
    tagstream_json(settings, "topics", "create")

    def send(*events):
        tagstream_json(settings, "publish", "notes", write(tmp_path / "n.jsonl", events))
        counts = tagstream_json(settings, "consume", "tag-notes", "index-notes", "--until-idle", "3")
        return counts["index-notes"]["stale"], tagstream_json(settings, "note", note_id)

    stale, note = send(first)
    assert (stale, note["state"]) == (0, "recallable")
    assert "crimson" in " ".join(tag["text"] for tag in note["tags"])
    assert list(note["stages"]) and note["stages"]["published"] <= note["stages"]["tagged"] <= note["stages"]["recallable"]
    stale, note = send(second, first)
    assert stale == 1
    assert "crimson" not in " ".join(tag["text"] for tag in note["tags"])
    assert "suede" in " ".join(tag["text"] for tag in note["tags"])
    assert tagstream_json(settings, "recall", "somebody")["results"][0]["note_id"] == note_id
    stale, note = send(gone, second)
    assert (stale, note["state"], note["tags"]) == (1, "deleted", [])
    assert tagstream_json(settings, "recall", "somebody")["results"] == []
    assert [why["reason"] for why in tagstream_json(settings, "note", note_id, "--user", "somebody")["why_not"]] == ["deleted"]


def test_killed_jobs_leave_nothing_out(settings, tmp_path):
    """tag-notes and index-notes are killed again and again; in the end every note is recallable with the tags of `tagstream tag`."""
    settings = msgspec.structs.replace(settings, tag_notes_batch=4, index_notes_batch=8)
    now = time.time_ns() // 1_000_000
    originals = [note for note in load_notes(tmp_path, now) if note.type == "note.published"]
    notes = [
        msgspec.structs.replace(note, note_id=f"{note.note_id}/{copy}", title=f"{note.title} {copy}")
        for copy in range(4)
        for note in originals
    ]
    notes_file = write(tmp_path / "notes.jsonl", notes)
    tagstream_json(settings, "topics", "create")
    tagstream_json(settings, "publish", "notes", notes_file)
    for seconds in (2.5, 3.0, 3.5):
        running = start(settings, "consume", "tag-notes", "index-notes")
        time.sleep(seconds)
        kill(running)
    counts = tagstream_json(settings, "consume", "tag-notes", "index-notes", "--until-idle", "5")
    assert all(of["dead_lettered"] == 0 for of in counts.values())
    tags = tags_by_note(settings, notes_file)
    for note in notes[:: len(notes) // 12]:
        held = tagstream_json(settings, "note", note.note_id)
        assert held["state"] == "recallable"
        assert [tag["text"] for tag in held["tags"]] == tags[note.note_id]
    found = tagstream_json(settings, "recall", "nobody", "--fresh-within", "all", "-k", "1000")
    assert {result["note_id"] for result in found["results"]} | {gone["note_id"] for gone in found["removed"]} == {n.note_id for n in notes}


def test_what_cannot_be_processed_is_kept_with_its_reason(settings):
    """A broken record from another producer goes to the dead letters; `note` says so; the others pass."""
    from streams.publisher import KafkaPublisher

    tagstream_json(settings, "topics", "create")
    publisher = KafkaPublisher(settings)
    publisher.publish(f"{settings.namespace}.note-events", b"broken", b'{"note_id": "broken", "type": "note.published"}', [])
    publisher.flush()
    publisher.close()
    good = {"type": "note.published", "note_id": "good", "author_id": "a", "title": "ceramic teapot", "occurred_at": 1, "published_at": 1}
    report = tagstream_json(settings, "publish", "notes", "-", stdin=json.dumps(good) + "\nnot json\n", code=1)
    assert (report["published"], [(bad["line"], bad["field"]) for bad in report["rejected"]]) == (1, [(2, "$")])
    counts = tagstream_json(settings, "consume", "tag-notes", "index-notes", "--until-idle", "3")
    assert counts["tag-notes"] == {"handled": 1, "dead_lettered": 1, "skipped_as_applied": 0, "stale": 0}
    assert tagstream_json(settings, "note", "good")["state"] == "recallable"
    broken = tagstream_json(settings, "note", "broken")
    assert broken["state"] == "dead_letter"
    assert "$.author_id" in json.dumps(broken["why_not"])
    assert tagstream_json(settings, "note", "never heard of")["state"] == "unknown"


def test_gold_notes_are_all_tagged(settings, tmp_path):
    """No live sample note, in either language, is left without a tag."""
    tags = tags_by_note(settings, write(tmp_path / "n.jsonl", load_notes(tmp_path, 10**12)))
    assert all(tags[gold.note_id] for gold in load_gold())
