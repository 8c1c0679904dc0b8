"""What a reader refuses: a bundle that is not the live one, or says otherwise of it, naming the part."""

from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

import models.bundle
from consumers.build import Wiring, build_update_profiles, go_live
from models.bundle import Bundle, Identity, SpacePart
from models.bundle_build import build_bundle
from recall.build import open_stores
from recall.live_bundle import LateSpace
from recall.pointer import Switch, move, name_encoder, name_parts, parts_of, register
from recall.redis_client import redis_client
from schemas.errors import BundleMismatch
from streams.metrics import Metrics
from tests.models.hashing_space import HashingSpace, write_space
from tests.models.test_encoder_export import write_encoder


@pytest.fixture(autouse=True)
def _hashing(monkeypatch):
    monkeypatch.setattr(models.bundle, "load_space", HashingSpace)


@pytest.fixture
def build(settings, tmp_path):
    """Builds a bundle of spaces given by name, dimension and version, and gives the settings that use it."""
    write_encoder(tmp_path / "tiny")
    local = msgspec.structs.replace(settings, data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"))

    def made(*spaces, merge=None):
        directories = [write_space(tmp_path / f"{name}-{size}-{version}", name, size, version) for name, size, version in spaces]
        if merge:
            (tmp_path / "merge.json").write_text(merge)
        path = build_bundle(local, directories, tmp_path / "merge.json" if merge else None, None, lambda _: None)
        return msgspec.structs.replace(settings, bundle=str(path))

    return made


def live(settings):
    opened = Bundle(Path(settings.bundle))
    go_live(settings, opened.version, opened.identity)
    return opened


def test_the_live_bundle_gives_its_spaces_and_weights(build, settings):
    mine = build(("two_tower", 8, "1"), ("linear", 4, "1"), merge='{"weights": {"linear": 2}}')
    assert open_stores(mine).bundle is None, "nothing is live, so nothing disagrees"
    live(mine)
    stores = open_stores(mine)
    assert {name: space.dimension for name, space in stores.spaces.items()} == {"two_tower": 8, "linear": 4}
    assert stores.weights == {"linear": 2.0}
    assert stores.spaces["linear"].notes([["green tea"]]).shape == (1, 4)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ([("two_tower", 9, "1")], "spaces/two_tower: dimension 9 here, 8 there"),
        ([("two_tower", 8, "2")], "spaces/two_tower: version 2 here, 1 there"),
        ([], "spaces/two_tower: only there"),
        ([("two_tower", 8, "1"), ("linear", 4, "1")], "spaces/linear: only here"),
    ],
)
def test_another_bundle_than_the_live_one_is_refused_naming_the_part(build, other, why):
    live(build(("two_tower", 8, "1")))
    mine = build(*other)
    for refused in (lambda: open_stores(mine), lambda: live(mine), lambda: build_update_profiles(Wiring(mine, Metrics(), ExitStack()))):
        with pytest.raises(BundleMismatch, match=why):
            refused()


def test_parts_that_others_announced_for_the_same_version_are_refused(settings):
    client = redis_client(settings)
    mine = Identity("e", {"linear": SpacePart(8, "1")})
    name_parts(client, settings, "b1", mine)
    name_parts(client, settings, "b1", mine)
    with pytest.raises(BundleMismatch, match="b1 was announced with other parts: spaces/linear: dimension 9 here, 8 there"):
        name_parts(client, settings, "b1", Identity("e", {"linear": SpacePart(9, "1")}))
    assert parts_of(client, settings, "b1") == mine
    name_encoder(client, settings, "b0", "e")
    assert parts_of(client, settings, "b0") == Identity("e"), "a system from before there were spaces"
    assert parts_of(client, settings, "never") is None


def test_the_live_pointer_and_the_directory_disagree_under_one_version(build, settings):
    mine = build(("two_tower", 8, "1"))
    opened = Bundle(Path(mine.bundle))
    go_live(settings, opened.version, msgspec.structs.replace(opened.identity, spaces={"two_tower": SpacePart(8, "elsewhere")}))
    with pytest.raises(BundleMismatch, match="is not the one that is live: spaces/two_tower: version 1 here, elsewhere there"):
        open_stores(mine)


def test_without_a_setting_the_directory_is_found_where_it_was_registered(build, settings, tmp_path):
    opened = live(build(("two_tower", 8, "1")))
    assert open_stores(settings).spaces["two_tower"].readers([[]]).shape == (1, 8)
    opened.directory.rename(tmp_path / "elsewhere")
    stores = open_stores(settings)
    with pytest.raises(BundleMismatch, match="set TAGSTREAM_BUNDLE to the directory of b"):
        stores.spaces["two_tower"].readers([[]])


def test_settings_that_name_one_bundle_of_a_roll_out_follow_the_live_one(build, settings):
    old, new = build(("two_tower", 8, "1")), build(("two_tower", 8, "2"))
    first, second = live(old), Bundle(Path(new.bundle))
    with pytest.raises(BundleMismatch, match="version 2 here, 1 there"):
        open_stores(new)
    client = redis_client(settings)
    register(client, settings, second.version, new.bundle)
    assert open_stores(new).bundle == first.version
    go_live(new, second.version, second.identity)
    assert open_stores(old).bundle == first.version, "a shadow's consumers change nothing for readers"
    move(client, settings, Switch(1, "activate", second.version, first.version))
    for mine in (old, new, settings):
        assert open_stores(mine).spaces["two_tower"].version == "2"
    second.directory.rename(second.directory.with_name("gone"))
    with pytest.raises(BundleMismatch, match="its directory is not here; copy it to"):
        open_stores(old)


def test_a_space_is_loaded_once_when_it_is_first_asked(build, monkeypatch):
    mine = build(("two_tower", 8, "1"))
    loads = []
    monkeypatch.setattr(models.bundle, "load_space", lambda directory, _: loads.append(directory) or HashingSpace(directory))
    space = LateSpace("two_tower", Bundle(Path(mine.bundle)).identity, "b", mine)
    assert (space.dimension, loads) == (8, [])
    space.notes([["a"]])
    space.readers([[]])
    assert len(loads) == 1
