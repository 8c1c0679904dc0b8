"""Bundles built from real parts: the same parts are the same version, a kill leaves nothing half, and what disagrees is refused by name."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

import models.bundle
import models.bundle_build
from models.bundle import Bundle, Identity, SpacePart, bundle_version, load_learned
from models.bundle_build import build_bundle
from models.bundle_faults import faults_of
from models.bundle_manifest import Part, derived_version, entry_of, read_manifest
from schemas.errors import BadSetting, BundleMismatch
from schemas.settings import Settings
from tests.models.hashing_space import HashingSpace, write_space
from tests.models.test_encoder_export import write_encoder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("data")
    write_encoder(directory / "tiny")
    return str(directory)


def made_of(data: str, **changes: object) -> Settings:
    """Settings of a tag encoder that is small enough to be copied often."""
    return Settings(data=data, tag_encoder=f"{data}/tiny", **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.bundle, "load_space", HashingSpace)


def build(data: str, tmp_path: Path, *names: str, out: Path | None = None, **settings: object) -> Path:
    spaces = [write_space(tmp_path / name, name, 8) for name in names]
    return build_bundle(made_of(data, **settings), spaces, None, out, lambda _: None)


@pytest.fixture
def bundle(data: str, tmp_path: Path) -> Path:
    """A sound bundle with two spaces and merge weights, of its own for each test."""
    merge = tmp_path / "merge.json"
    merge.write_text('{"weights": {"two_tower": 1, "linear": 0.5}}')
    spaces = [write_space(tmp_path / name, name, 8) for name in ("two_tower", "linear")]
    made = build_bundle(made_of(data), spaces, merge, None, lambda _: None)
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def settings(bundle: Path | str, **changes: object) -> Settings:
    return Settings(data="nowhere", bundle=str(bundle), **changes)  # type: ignore[arg-type]


def test_without_spaces_it_is_the_bundle_that_the_settings_make(data: str, tmp_path: Path) -> None:
    plain = load_learned(made_of(data))
    made = build(data, tmp_path)
    assert made == Path(data, "bundles", plain.version)
    loaded = load_learned(settings(made))
    assert loaded.version == plain.version == bundle_version(plain.tagger, plain.encoder)
    assert loaded.identity == plain.identity == Identity(plain.encoder.version)
    text = ["crimson running shoes", "红色跑鞋"]
    assert loaded.encoder.encode(text).tobytes() == plain.encoder.encode(text).tobytes()


def test_what_is_loaded_is_what_was_built(bundle: Path) -> None:
    loaded = load_learned(settings(bundle))
    assert list(loaded.spaces) == ["two_tower", "linear"]
    assert loaded.weights == {"two_tower": 1.0, "linear": 0.5}
    assert loaded.identity == Bundle(bundle).identity
    assert loaded.identity.spaces["linear"] == SpacePart(8, "1")
    assert loaded.tagger.version == read_manifest(bundle).parts["tagger"].version


def test_the_taggers_settings_are_the_bundles(data: str, tmp_path: Path) -> None:
    made = build(data, tmp_path, tagger_max_tags=4)
    loaded = load_learned(settings(made, tagger_max_tags=9))
    assert loaded.version == made.name
    assert loaded.tagger.version.endswith("-4")


def test_the_same_parts_are_the_same_version_and_nothing_is_written_again(data: str, tmp_path: Path) -> None:
    made = build(data, tmp_path, "two_tower")
    stamp = (made / "manifest.json").stat().st_mtime_ns
    assert build(data, tmp_path, "two_tower") == made
    assert (made / "manifest.json").stat().st_mtime_ns == stamp
    assert build(data, tmp_path / "x", "linear").name != made.name
    (tmp_path / "two_tower" / "space.json").write_text(
        (tmp_path / "two_tower" / "space.json").read_text().replace('"version": "1"', '"version": "2"')
    )
    changed = build_bundle(made_of(data), [tmp_path / "two_tower"], None, None, lambda _: None)
    assert changed.name != made.name


def test_a_killed_build_goes_on_and_leaves_no_half_bundle(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    real = shutil.copyfile

    def copy(source: Path, place: Path) -> None:
        copied.append(place.name)
        if len(copied) == 5:
            place.write_bytes(b"half")
            raise KeyboardInterrupt
        real(source, place)

    monkeypatch.setattr(models.bundle_build.shutil, "copyfile", copy)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(data, tmp_path, "two_tower", out=out)
    assert not out.exists()
    before = copied[:4]
    build(data, tmp_path, "two_tower", out=out)
    assert faults_of(out) == []
    assert copied[4] == copied[5], "the one that was cut off is copied again"
    assert not set(before) & set(copied[5:]), "what was whole is not"
    assert [path.name for path in tmp_path.iterdir() if "building" in path.name] == []


def test_a_broken_bundle_under_data_is_built_anew_but_nothing_else_is_touched(data: str, tmp_path: Path) -> None:
    made = build(data, tmp_path, "two_tower")
    (made / "spaces/two_tower/scale.npy").write_bytes(b"x")
    assert build(data, tmp_path, "two_tower") == made
    assert faults_of(made) == []
    out = tmp_path / "mine"
    out.mkdir()
    (out / "diary.txt").write_text("dear")
    with pytest.raises(BadSetting, match=r"--out: .*mine is no sound bundle"):
        build(data, tmp_path, "two_tower", out=out)
    assert (out / "diary.txt").read_text() == "dear"
    build(data, tmp_path, "two_tower", out=tmp_path / "one")
    with pytest.raises(BadSetting, match=r"holds bundle b.*these parts make b"):
        build(data, tmp_path, "linear", out=tmp_path / "one")


def test_a_link_among_a_spaces_files_is_refused(data: str, tmp_path: Path) -> None:
    directory = write_space(tmp_path / "linear", "linear")
    (directory / "extra").symlink_to("/etc/hostname")
    with pytest.raises(BadSetting, match="extra is a link"):
        build_bundle(made_of(data), [directory], None, None, lambda _: None)


def swap(bundle: Path, file: str, content: bytes, **changes: object) -> None:
    """Changes a file, its part, and then all that follows from it in the manifest: an honest manifest of other parts."""
    path = bundle / file
    path.write_bytes(content)
    manifest = read_manifest(bundle)
    parts = dict(manifest.parts)
    name = next(name for name, part in parts.items() if file in part.files)
    part = parts[name]
    parts[name] = msgspec.structs.replace(part, files=part.files | {file: entry_of(path)}, **changes)
    rewrite(bundle, parts)


def rewrite(bundle: Path, parts: dict[str, Part]) -> None:
    manifest = msgspec.structs.replace(read_manifest(bundle), parts=parts, version=derived_version(parts))
    (bundle / "manifest.json").write_bytes(msgspec.json.encode(manifest))


def test_a_changed_byte_is_refused_when_its_part_is_needed(bundle: Path) -> None:
    path = bundle / "spaces/linear/scale.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BundleMismatch, match=r"spaces/linear: spaces/linear/scale\.npy: sha256"):
        load_learned(settings(bundle))
    opened = Bundle(bundle)
    opened.space("two_tower", None)
    with pytest.raises(BundleMismatch, match="spaces/linear"):
        opened.space("linear", None)


@pytest.mark.parametrize(("field", "value", "wrong"), [("dimension", 9, 9), ("version", "2", "2"), ("name", "two_tower", "two_tower")])
def test_a_space_that_says_otherwise_than_the_manifest_is_refused(bundle: Path, field: str, value: object, wrong: object) -> None:
    card = json.loads((bundle / "spaces/linear/space.json").read_text())
    swap(bundle, "spaces/linear/space.json", json.dumps(card | {field: value}).encode())
    with pytest.raises(BundleMismatch, match=rf"spaces/linear: .*{wrong}"):
        load_learned(settings(bundle))
    assert [(fault.part, fault.where) for fault in faults_of(bundle)] == [("spaces/linear", field)]


def test_another_encoder_or_handbook_under_the_old_name_is_refused(bundle: Path) -> None:
    encoder = json.loads((bundle / "tag_encoder/manifest.json").read_text())
    swap(bundle, "tag_encoder/manifest.json", json.dumps(encoder | {"source": "f" * 32}).encode())
    with pytest.raises(BundleMismatch, match=r"tag_encoder: version: loaded .*ffff.*the manifest says"):
        load_learned(settings(bundle))
    swap(bundle, "tag_encoder/manifest.json", json.dumps(encoder).encode())
    load_learned(settings(bundle))
    book = (bundle / "handbook/shoes.yaml").read_text()
    swap(bundle, "handbook/shoes.yaml", book.replace("version: ", "version: 9", 1).encode())
    with pytest.raises(BundleMismatch, match="version: loaded"):
        load_learned(settings(bundle))


def test_identities_name_the_first_part_that_differs() -> None:
    here = Identity("e", {"linear": SpacePart(8, "1"), "two_tower": SpacePart(4, "1")}, {"linear": 1.0})
    assert here.differs(here) is None
    replace = msgspec.structs.replace
    assert "tag_encoder: version e here, f there" in str(here.differs(replace(here, encoder="f")))
    for part, said in ((SpacePart(9, "1"), "dimension 8 here, 9 there"), (SpacePart(8, "2"), "version 1 here, 2 there")):
        assert here.differs(replace(here, spaces=here.spaces | {"linear": part})) == f"spaces/linear: {said}"
    assert here.differs(replace(here, spaces={"linear": SpacePart(8, "1")})) == "spaces/two_tower: only here"
    assert "merge" in str(here.differs(replace(here, weights={"linear": 2.0})))


ENDPOINT = {"endpoint_url": "http://127.0.0.1:9/v1", "endpoint_model": "org/model"}


def test_a_bundle_of_an_endpoints_tagger_refers_to_model_prompt_and_handbook(data: str, tmp_path: Path) -> None:
    made = build(data, tmp_path, tagger="endpoint", **ENDPOINT)
    card = json.loads((made / "tagger.json").read_text())
    assert (card["name"], card["model"], card["style"]) == ("endpoint", "org/model", "full") and card["prompt"] and card["handbook"]
    assert made.name not in {
        build(data, tmp_path).name,
        build(data, tmp_path, tagger="endpoint", **ENDPOINT | {"endpoint_model": "x"}).name,
    }
    plain = load_learned(made_of(data, tagger="endpoint", **ENDPOINT))
    assert plain.version == made.name
    plain.tagger.close()  # type: ignore[attr-defined]
    loaded = load_learned(settings(made, endpoint_url="http://127.0.0.1:8/v1"))
    assert loaded.tagger.version == read_manifest(made).parts["tagger"].version, "the model's name is the bundle's, the address is not"
    loaded.tagger.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "here", "refused"),
    [
        ({"prompt": "full-00000000"}, {}, r"tagger: prompt: the bundle was built with full-00000000, here it is full-"),
        ({"handbook": "0ld"}, {}, r"tagger: handbook: the bundle was built with 0ld, here it is "),
        ({}, {"endpoint_model": "another"}, r"tagger: model: the bundle was built with org/model, here it is another"),
        ({}, {"tagger": "handbook"}, r"the bundle has endpoint, TAGSTREAM_TAGGER says handbook"),
        ({}, {"transcriber_correction": True}, r"tagger: correction: the bundle was built with none, here it is 1-org/model"),
        ({"name": "oracle"}, {}, r"this release has no tagger 'oracle'"),
    ],
)
def test_what_disagrees_with_the_tagger_is_named(
    data: str, tmp_path: Path, said: dict[str, str], here: dict[str, str], refused: str
) -> None:
    made = Path(shutil.copytree(build(data, tmp_path, tagger="endpoint", **ENDPOINT), tmp_path / "copy"))
    card = json.loads((made / "tagger.json").read_text())
    swap(made, "tagger.json", json.dumps(card | said).encode())
    chosen = settings(made, **{"endpoint_url": "http://127.0.0.1:9/v1"} | here)
    loaded = load_learned(chosen)
    with pytest.raises(BundleMismatch, match=refused):
        loaded.tagger  # noqa: B018


def test_what_puts_transcripts_right_is_part_of_the_version(data: str, tmp_path: Path) -> None:
    plain, corrected = (build(data, tmp_path, endpoint_model="m", transcriber_correction=on) for on in (False, True))
    assert plain.name != corrected.name == load_learned(made_of(data, endpoint_model="m", transcriber_correction=True)).version
    assert load_learned(settings(corrected, endpoint_model="m", transcriber_correction=True)).version == corrected.name
    with pytest.raises(BundleMismatch, match=r"correction: the bundle was built with 1-m, here it is none"):
        load_learned(settings(corrected))
