"""The Deskdrop log through the real commands: every reader's scores equal the oracle's, after a SIGKILL mid-stream, and unchanged,
byte for byte, by reading the whole topic again; and so do those of another bundle that a replay, killed as well, builds beside it."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from models.profile import scores_at
from models.profile_update import open_profile
from offline.datasets import deskdrop_interactions, deskdrop_notes
from recall.notes import RedisNotes
from recall.pointer import active_bundle
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.codec import encode
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.oracle import expected_scores
from tests.e2e.running import consume_notes, kill, start, tagstream_json

DATA = Path(os.environ.get("TAGSTREAM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "deskdrop-interactions"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the Deskdrop log is not at {DATA}; set TAGSTREAM_TEST_DATA")


def stored(settings: Settings, bundle: str = "*") -> dict[bytes, list[bytes]]:
    """Every reader's record as Redis holds it."""
    client = redis_client(settings)
    keys = list(client.scan_iter(match=f"*:{settings.namespace}:{bundle}:profile:*", count=5000))
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.lrange(key, 0, -1)
        found = dict(zip(keys, pipe.execute(), strict=True))
    assert all(found.values()), "a record is a list that is not empty"
    return found


def test_scores_equal_the_oracle_whatever_happens(settings, tmp_path):
    settings = msgspec.structs.replace(settings, profile_max_tags=0, update_profiles_batch=2_000, update_profiles_batch_age_s=0.1)
    notes, events = list(deskdrop_notes(DATA)), list(deskdrop_interactions(DATA))
    assert len(events) > 70_000
    for name, items in (("notes", notes), ("interactions", events)):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"\n".join(map(encode, items)))
    tagstream_json(settings, "topics", "create")
    assert tagstream_json(settings, "publish", "notes", str(tmp_path / "notes.jsonl"))["published"] == len(notes)
    consume_notes(settings)
    assert tagstream_json(settings, "publish", "interactions", str(tmp_path / "interactions.jsonl"))["published"] == len(events)

    consumer = start(settings, "consume", "update-profiles")
    until = time.monotonic() + 60
    while not stored(settings) and consumer.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    said = kill(consumer)
    half = len(stored(settings))
    assert half, said
    counts = tagstream_json(settings, "consume", "update-profiles", "--until-idle", "3")["update-profiles"]
    assert counts["dead_lettered"] == 0
    bundle = active_bundle(redis_client(settings), settings)
    assert_like_the_oracle(settings, bundle, notes, events)

    before = stored(settings)
    replayed = settings_of_a_new_group(settings)
    assert replayed["handled"] == len(events)
    assert replayed["skipped_as_applied"] > 0.9 * len(events)
    assert stored(settings) == before

    replay_into_another_bundle(settings, tmp_path / "bundle", notes, events)
    assert stored(settings, bundle) == before, "the live bundle notices nothing of it"


def replay_into_another_bundle(settings, directory, notes, events):
    """Built by a replay that is killed among the interactions; its profiles are the oracle's, with its own tags."""
    fewer = msgspec.structs.replace(settings, tagger_max_tags=2)
    (built,) = tagstream_json(fewer, "bundle", "build", "--out", str(directory))
    for topic in ("note-events", "note-tagged"):
        (done,) = tagstream_json(settings, "replay", topic, "--into", str(directory)).values()
        assert done["complete"] and done["dead_lettered"] == 0
    replaying = start(settings, "replay", "interactions", "--into", str(directory))
    until = time.monotonic() + 60
    while not stored(settings, built["bundle"]) and replaying.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    said = kill(replaying)
    assert stored(settings, built["bundle"]), said
    (done,) = tagstream_json(settings, "replay", "interactions", "--into", str(directory)).values()
    assert done["complete"] and done["dead_lettered"] == 0
    tags = assert_like_the_oracle(settings, built["bundle"], notes, events)
    assert max(map(len, tags.values())) == 2


def assert_like_the_oracle(settings, bundle, notes, events):
    """Returns the tags of each note."""
    client = redis_client(settings)
    store, profiles = RedisNotes(client, Keys(settings.namespace, bundle)), RedisProfiles(client, Keys(settings.namespace, bundle))
    records = store.get([note.note_id for note in notes])
    assert all(records[note.note_id].tags for note in notes)
    as_of = max(event.occurred_at for event in events) + 1
    tags = {note_id: [tag.text for tag in record.tags] for note_id, record in records.items()}
    want = expected_scores(events, tags, as_of)
    held = profiles.read(sorted(want))

    def tags_of(note_id):
        return records[note_id].tags if note_id in records else None

    for reader, scores in want.items():
        assert scores_at(open_profile(held[reader].record, settings), as_of, settings, tags_of) == pytest.approx(scores, abs=1e-6), reader
    return tags


def settings_of_a_new_group(settings):
    """Reads the whole topic once more, into the same records, as a consumer group that has committed nothing."""
    from consumers.build import open_engine
    from streams.jobs import Stop
    from streams.source import KafkaSource

    with open_engine("update-profiles", settings) as engine:
        engine._source = KafkaSource(settings, engine._job.topic.name, f"{settings.namespace}.once-more")
        return engine.run(Stop(), 3.0).to_dict()
