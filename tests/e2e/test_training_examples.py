"""From interactions to Parquet by day on real servers, with a consumer killed in between: one example each, nothing later in it."""

import json
import time
from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from schemas.events import Interaction
from schemas.settings import Settings
from tests.e2e.example_oracle import expected_examples
from tests.e2e.running import kill, start, tagstream, tagstream_json
from tests.offline.recall_world import community, write_jsonl


def test_examples_from_the_topic_are_those_of_an_independent_computation(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, training_examples_rate=1.0, training_examples_impressions=1.0, training_examples_tags=1000)
    write_jsonl(community(readers=40, notes=80), tmp_path)
    notes, interactions = tmp_path / "notes.jsonl", tmp_path / "interactions.jsonl"
    lines = interactions.read_text().splitlines()
    shown = [json.dumps(json.loads(line) | {"event_id": f"i{row}", "action": "impression"}) for row, line in enumerate(lines[::3])]
    interactions.write_text("\n".join([*lines, *shown, lines[0]]) + "\n")
    tagstream(settings, "topics", "create")
    tagstream(settings, "publish", "notes", str(notes))
    tagstream(settings, "consume", "tag-notes", "--until-idle", "1")
    tagstream(settings, "consume", "index-notes", "--until-idle", "1")
    tagstream(settings, "publish", "interactions", str(interactions))
    first = start(replace(settings, update_profiles_batch=50), "consume", "update-profiles")
    time.sleep(1.5)
    kill(first)
    tagstream(settings, "consume", "update-profiles", "--until-idle", "1")
    out = tmp_path / "examples"
    manifest = tagstream_json(settings, "offline", "towers", "data", "kafka", "--out", str(out))
    assert (manifest["leaking"], manifest["refused"]) == (0, 0)
    versions = pl.read_parquet(out / "note-versions.parquet")
    tags = dict(versions.select("note_id", "tags").iter_rows())
    sure = versions["confidences"].to_list()
    assert [len(of) for of in sure] == [len(of) for of in versions["tags"].to_list()] and any(0 < one < 1 for of in sure for one in of)
    wanted = expected_examples([Interaction(**json.loads(line)) for line in interactions.read_text().splitlines()], tags)
    rows = pl.read_parquet(sorted(out.glob("day=*/*.parquet")))
    assert len(rows) == len(wanted) == manifest["rows"]
    for row in rows.iter_rows(named=True):
        known = wanted[row["event_id"]]
        assert list(zip(row["history_notes"], row["history_at"], strict=True)) == [(note, at) for note, _, at in known.history]
        assert row["history_weights"] == pytest.approx([weight for _, weight, _ in known.history], rel=1e-5)
        assert dict(zip(row["profile_tags"], row["profile_scores"], strict=True)) == pytest.approx(known.scores, rel=1e-5)
    again = tagstream_json(settings, "offline", "towers", "data", "kafka", "--out", str(out))
    assert again == manifest
