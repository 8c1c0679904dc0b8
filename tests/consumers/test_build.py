"""Wiring on the real servers: which bundle goes live, and who is refused."""

import msgspec
import pytest

from consumers.build import go_live, group_of, open_engine
from models.bundle import Bundle, Identity
from models.bundle_build import build_bundle
from recall.live_bundle import checked
from recall.pointer import Switch, active_bundle, encoder_of, move, register
from recall.redis_client import redis_client
from schemas.errors import BundleMismatch
from schemas.topics import all_topics
from streams.topics_admin import create_topics
from tests.models.test_encoder_export import write_encoder


class Versioned:
    """Test double: an encoder that only has a version."""

    dimension = 2

    def __init__(self, version: str) -> None:
        self.version = version

    def encode(self, texts):
        raise AssertionError("not asked for vectors here")


def test_the_first_bundle_goes_live_and_another_is_refused(settings):
    client = redis_client(settings)
    assert checked(Versioned("e1"), settings).version == "e1", "nothing is live yet, so nothing disagrees"
    go_live(settings, "b1", Identity("e1"))
    go_live(settings, "b1", Identity("e1"))
    assert (active_bundle(client, settings), encoder_of(client, settings, "b1")) == ("b1", "e1")
    with pytest.raises(BundleMismatch, match=r"bundle b1 is live .* make b2"):
        go_live(settings, "b2", Identity("e2"))
    assert active_bundle(client, settings) == "b1"
    go_live(msgspec.structs.replace(settings, namespace=f"{settings.namespace}x"), "b2", Identity("e2"))


def test_a_registered_bundle_is_written_beside_the_live_one_only_by_who_names_it(settings):
    go_live(settings, "b1", Identity("e1"))
    register(redis_client(settings), settings, "b2", "")
    with pytest.raises(BundleMismatch, match=r"bundle b1 is live .* make b2"):
        go_live(settings, "b2", Identity("e2"))
    go_live(msgspec.structs.replace(settings, bundle="bundles/b2"), "b2", Identity("e2"))
    assert active_bundle(redis_client(settings), settings) == "b1"


def test_a_consumer_without_a_setting_is_the_live_bundles(settings, tmp_path):
    write_encoder(tmp_path / "tiny")
    local = msgspec.structs.replace(settings, data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"))
    create_topics(settings, all_topics(settings.namespace))
    built = build_bundle(msgspec.structs.replace(local, tagger_max_tags=3), [], None, None, lambda _: None)
    with open_engine("tag-notes", local) as engine:
        old = engine._job.group
    client, before = redis_client(settings), active_bundle(redis_client(settings), settings)
    new = Bundle(built)
    register(client, settings, new.version, str(built))
    assert old == group_of("tag-notes", settings, before)
    assert move(client, settings, Switch(1, "activate", new.version, before))
    for job in ("tag-notes", "update-profiles"):
        with open_engine(job, local) as engine:
            assert engine._job.group == group_of(job, settings, new.version)


def test_a_reader_with_another_encoder_is_refused(settings):
    go_live(settings, "b1", Identity("e1"))
    assert checked(Versioned("e1"), settings).version == "e1"
    with pytest.raises(BundleMismatch, match="made by tag encoder e1, the settings here give e2"):
        checked(Versioned("e2"), settings)
