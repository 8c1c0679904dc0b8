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
from models.encoder import load_tag_encoder
from models.profile import history_at
from models.tag_content import ContentSpec
from offline.choose_recall import Chosen
from offline.live import publish
from offline.recall_linear import LinearSpec
from offline.recall_task import whole_task
from offline.samples.load import load_interactions, load_notes
from offline.train_towers import TowerSpec
from offline.write_spaces import write_spaces
from recall.build import open_stores, tag_encoder
from recall.query import Query, recall
from recall.reader import KnownNotes, read_reader
from schemas.errors import BundleMismatch
from schemas.topics import all_topics
from streams.jobs import Stop
from streams.topics_admin import create_topics
from tests.models.hashing_space import HashingSpace, write_space
from tests.models.test_encoder_export import write_encoder
from tests.offline.recall_world import community

SPACES = {"two_tower": 24, "linear": 16}


@pytest.fixture
def _hashing(monkeypatch):
    monkeypatch.setattr(models.bundle, "load_space", HashingSpace)


def consume(settings, *jobs):
    for job in jobs:
        with open_engine(job, settings) as engine:
            counts = engine.run(Stop(), 1.0).to_dict()
        assert counts["handled"] > 0 and counts["dead_lettered"] == 0


def test_trained_spaces_serve(settings, tmp_path):
    """From a dataset to recall: exported, bundled, consumed by the jobs, proposed by both learned channels."""
    settings = msgspec.structs.replace(settings, tag_encoder=str(write_encoder(tmp_path / "tiny")))
    chosen = Chosen(ContentSpec(buckets=64), LinearSpec(rank=16), TowerSpec(dimension=24, hidden=16, epochs=2, batch=16, warm_up=4))
    write_spaces(whole_task(community(), "random"), load_tag_encoder(settings), chosen, tmp_path / "out", dimension=32)
    spaces = [tmp_path / "out" / name for name in SPACES]
    made = build_bundle(settings, spaces, tmp_path / "out" / "merge.json", tmp_path / "bundle", lambda _: None)
    ours = msgspec.structs.replace(settings, bundle=str(made))
    now = time.time_ns() // 1_000_000
    notes, events = load_notes(tmp_path, now), load_interactions(now)
    create_topics(ours, all_topics(ours.namespace))
    publish(ours, [*notes, *events])
    consume(ours, "tag-notes", "index-notes", "update-profiles")
    stores, encoder = open_stores(ours), tag_encoder(ours)
    found = recall(Query(user_id="u-runner-en", fresh_within_ms=None), stores, encoder)
    assert {"two_tower", "linear"} <= {part.name for one in found.results for part in one.channels}
    assert found.degraded == []

    reader = read_reader("u-runner-en", found.as_of, stores.profiles, KnownNotes(stores.notes), ours)
    history = history_at(reader.profile, found.as_of, ours, lambda _: None)
    for name in SPACES:
        space = Bundle(made).space(name, encoder)
        (hit, *_) = recall(
            Query(user_id="u-runner-en", k=1, fresh_within_ms=None, channels=(name,), as_of=found.as_of), stores, encoder
        ).results
        tags = [tag.text for tag in stores.notes.get([hit.note_id])[hit.note_id].tags]
        assert hit.channels[0].score == pytest.approx(float((space.readers([history]) @ space.notes([tags]).T)[0, 0]), abs=1e-4)


@pytest.mark.usefixtures("_hashing")
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
