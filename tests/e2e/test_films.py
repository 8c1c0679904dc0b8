"""Films as notes, ratings as interactions: real texts and readers through the whole path, against the oracle."""

import os
from pathlib import Path

import msgspec
import pytest

from offline.datasets import movielens_interactions, movielens_notes
from schemas.codec import encode
from tests.e2e.oracle import expected_scores
from tests.e2e.running import consume_notes, tagstream_json
from tests.e2e.test_event_path import tags_by_note

DATA = Path(os.environ.get("TAGSTREAM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "ml-latest-small").is_dir(), reason=f"MovieLens and TMDB are not under {DATA}; set TAGSTREAM_TEST_DATA"
)
FILMS = 150
READERS = 6


def test_films_are_recalled_by_what_their_overviews_say(settings, tmp_path):
    settings = msgspec.structs.replace(settings, profile_max_tags=0)
    folders = DATA / "ml-latest-small", DATA / "tmdb-5000"
    notes = list(movielens_notes(*folders))[:FILMS]
    shown = {note.note_id for note in notes}
    events = [event for event in movielens_interactions(*folders) if event.note_id in shown]
    for name, items in (("notes", notes), ("interactions", events)):
        (tmp_path / name).write_bytes(b"\n".join(map(encode, items)))
    tagstream_json(settings, "topics", "create")
    tagstream_json(settings, "publish", "notes", str(tmp_path / "notes"))
    consume_notes(settings)
    tagstream_json(settings, "publish", "interactions", str(tmp_path / "interactions"))
    counts = tagstream_json(settings, "consume", "update-profiles", "--until-idle", "3")
    assert counts["update-profiles"] == {"handled": len(events), "dead_lettered": 0, "skipped_as_applied": 0, "stale": 0}

    tags = tags_by_note(settings, str(tmp_path / "notes"))
    as_of = max(event.occurred_at for event in events) + 1
    want = expected_scores(events, tags, as_of)
    acted = {(event.user_id, event.note_id) for event in events if event.action != "impression"}
    for reader in sorted(want, key=lambda reader: -len(want[reader]))[:READERS]:
        profile = tagstream_json(settings, "profile", reader, "--as-of", str(as_of), "-k", "100000")
        assert {tag["text"]: tag["score"] for tag in profile["tags"]} == pytest.approx(want[reader], abs=1e-6)
        found = tagstream_json(settings, "recall", reader, "--as-of", str(as_of), "--fresh-within", "all", "--explain")
        assert found["results"]
        for result in found["results"]:
            assert (reader, result["note_id"]) not in acted
            for reason in result["reasons"]:
                assert reason["profile_tag"] in want[reader]
                assert reason["note_tag"] in tags[result["note_id"]]
