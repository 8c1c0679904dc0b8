"""Wiring on the real servers: which bundle goes live, and who is refused."""

import msgspec
import pytest

from consumers.build import go_live
from models.bundle import Identity
from recall.live_bundle import checked
from recall.pointer import active_bundle, encoder_of
from recall.redis_client import redis_client
from schemas.errors import BundleMismatch


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


def test_a_reader_with_another_encoder_is_refused(settings):
    go_live(settings, "b1", Identity("e1"))
    assert checked(Versioned("e1"), settings).version == "e1"
    with pytest.raises(BundleMismatch, match="made by tag encoder e1, the settings here give e2"):
        checked(Versioned("e2"), settings)
