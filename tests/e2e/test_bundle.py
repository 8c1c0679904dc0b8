"""A bundle with learned spaces on the real servers: built, consumed, recalled, and refused where anything of it disagrees."""

import json
import shutil
import time
from pathlib import Path

import msgspec
import pytest

import models.bundle
from consumers.build import open_engine
from models.bundle import Bundle
from models.bundle_build import build_bundle
from offline.live import publish
from offline.samples.load import load_interactions, load_notes
from recall.build import open_stores, tag_encoder
from recall.query import Query, recall
from schemas.errors import BundleMismatch
from schemas.topics import all_topics
from streams.jobs import Stop
from streams.topics_admin import create_topics
from tests.models.hashing_space import HashingSpace, write_space
from tests.models.test_encoder_export import write_encoder

SPACES = {"two_tower": 24, "linear": 16}


@pytest.fixture(autouse=True)
def _hashing(monkeypatch):
    monkeypatch.setattr(models.bundle, "load_space", HashingSpace)


def consume(settings, *jobs):
    for job in jobs:
        with open_engine(job, settings) as engine:
            counts = engine.run(Stop(), 1.0).to_dict()
        assert counts["handled"] > 0 and counts["dead_lettered"] == 0


def test_a_bundle_is_consumed_recalled_and_refused_once_it_changes(settings, tmp_path):
    spaces = [write_space(tmp_path / name, name, size) for name, size in SPACES.items()]
    (tmp_path / "merge.json").write_text('{"weights": {"two_tower": 1, "linear": 1, "tag_embedding": 0.2}}')
    settings = msgspec.structs.replace(settings, tag_encoder=str(write_encoder(tmp_path / "tiny")))
    made = build_bundle(settings, spaces, tmp_path / "merge.json", tmp_path / "bundle", lambda _: None)
    ours = msgspec.structs.replace(settings, bundle=str(made))
    now = time.time_ns() // 1_000_000
    notes, events = load_notes(tmp_path, now), load_interactions(now)
    create_topics(ours, all_topics(ours.namespace))
    publish(ours, [*notes, *events])
    consume(ours, "tag-notes", "index-notes", "update-profiles")

    stores, encoder = open_stores(ours), tag_encoder(ours)
    found = recall(Query(user_id="u-runner-en", fresh_within_ms=None, explain=True), stores, encoder)
    channels = {part.name for one in found.results for part in one.channels}
    assert {"two_tower", "linear", "tag_embedding"} <= channels <= {"two_tower", "linear", "tag_embedding", "fresh"}
    assert found.results[0].reasons and found.degraded == []
    for name in SPACES:
        alone = recall(Query(user_id="u-runner-en", fresh_within_ms=None, channels=(name,)), stores, encoder)
        assert len(alone.results) == 20
    live_notes = [note_id for note_id, record in stores.notes.get([note.note_id for note in notes]).items() if record.tags]
    assert set(stores.index.visible(live_notes)) == set(live_notes), "visible in all three spaces"

    refused(ours, tmp_path, "byte", change_byte, r"spaces/linear: spaces/linear/scale\.npy: sha256", loads=True)
    refused(ours, tmp_path, "dimension", resize, "spaces/two_tower: dimension 25 here, 24 there")
    refused(ours, tmp_path, "version", rename, "spaces/two_tower: version 2 here, 1 there")


def refused(settings, tmp_path, name, change, why, *, loads=False):
    """Consumer and recall refuse a copy of the bundle in which something was changed."""
    copy = Path(shutil.copytree(settings.bundle, tmp_path / name))
    wrong = msgspec.structs.replace(settings, bundle=str(change(settings, copy)))
    with pytest.raises(BundleMismatch, match=why), open_engine("index-notes", wrong):
        raise AssertionError("it must not start")
    with pytest.raises(BundleMismatch, match=why):
        stores = open_stores(wrong)
        assert loads, "refused before anything is loaded"
        recall(Query(user_id="u-runner-en", fresh_within_ms=None), stores, tag_encoder(wrong))


def change_byte(_settings, bundle):
    path = bundle / "spaces/linear/scale.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    return bundle


def resize(settings, bundle):
    return rebuilt(settings, bundle, dimension=SPACES["two_tower"] + 1)


def rename(settings, bundle):
    return rebuilt(settings, bundle, version="2")


def rebuilt(settings, bundle, **changes):
    """An honest bundle whose two-tower space says otherwise."""
    card = json.loads((bundle / "spaces/two_tower/space.json").read_text())
    (bundle / "spaces/two_tower/space.json").write_text(json.dumps(card | changes))
    spaces = [bundle / "spaces" / name for name in SPACES]
    made = build_bundle(settings, spaces, bundle / "merge.json", bundle.with_name(f"{bundle.name}-built"), lambda _: None)
    assert Bundle(made).version != Bundle(Path(settings.bundle)).version
    return made
