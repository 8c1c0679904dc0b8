"""A manifest is not trusted: names, paths, links, sizes and hashes."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from models.bundle_manifest import BundleManifest, FileEntry, Part, check_part, derived_version, entry_of, read_manifest, version_of
from schemas.errors import BundleMismatch

FILES = {
    "handbook": ["handbook/a.yaml", "handbook/b.yaml"],
    "tagger": ["tagger.json"],
    "tag_encoder": ["tag_encoder/model.onnx"],
    "spaces/linear": ["spaces/linear/space.json", "spaces/linear/deep/er.npy"],
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A directory that agrees with its manifest."""
    directory = tmp_path / "bundle"
    parts = {}
    for name, files in FILES.items():
        for file in files:
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_bytes(file.encode() * 100)
        parts[name] = Part("1", {file: entry_of(directory / file) for file in files}, 4 if "/" in name else None, "t")
    write(directory, parts)
    return directory


def write(directory: Path, parts: dict[str, Part], version: str = "") -> None:
    manifest = BundleManifest(format=1, version=version or derived_version(parts), created_at=0, parts=parts)
    (directory / "manifest.json").write_bytes(msgspec.json.encode(manifest))


def faults(directory: Path) -> list[tuple[str, str, str]]:
    return [tuple(fault) for name, part in read_manifest(directory).parts.items() for fault in check_part(directory, name, part)]


def test_a_sound_bundle_has_no_faults(bundle: Path) -> None:
    assert faults(bundle) == []
    moved = shutil.copytree(bundle, bundle.with_name("moved"))
    assert faults(moved) == []


def test_every_way_in_which_a_file_disagrees_is_named(bundle: Path) -> None:
    file = bundle / "spaces/linear/deep/er.npy"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"!")
    ((part, where, reason),) = faults(bundle)
    assert (part, where) == ("spaces/linear", "spaces/linear/deep/er.npy") and reason.startswith("sha256 is")
    file.write_bytes(good + b"!")
    assert "the manifest says" in faults(bundle)[0][2]
    file.unlink()
    assert faults(bundle) == [("spaces/linear", "spaces/linear/deep/er.npy", "is missing")]
    file.write_bytes(good)
    (bundle / "handbook/c.yaml").write_text("x")
    assert faults(bundle) == [("handbook", "handbook/c.yaml", "not in the manifest")]


def test_links_are_not_followed(bundle: Path, tmp_path: Path) -> None:
    file, outside = bundle / "spaces/linear/deep/er.npy", tmp_path / "outside"
    shutil.copytree(file.parent, outside)
    file.unlink()
    file.symlink_to(outside / "er.npy")
    assert {fault[2] for fault in faults(bundle)} == {"is a link, or behind one"}
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(outside)
    assert ("spaces/linear", "spaces/linear/deep/er.npy", "is a link, or behind one") in faults(bundle)
    (bundle / "manifest.json").rename(tmp_path / "m.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "m.json")
    with pytest.raises(BundleMismatch, match="link"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "handbook/../../x",
        "tag_encoder/x",
        "handbook",
        "handbook//a",
        "handbook/./a",
        "handbook\\..\\x",
        "",
    ],
)
def test_a_path_outside_its_part_is_refused(bundle: Path, path: str) -> None:
    parts = read_manifest(bundle).parts
    files = parts["handbook"].files | {path: FileEntry("0" * 64, 1)}
    write(bundle, parts | {"handbook": msgspec.structs.replace(parts["handbook"], files=files)})
    with pytest.raises(BundleMismatch, match="no path within the part"):
        read_manifest(bundle)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 2}, "format 2, this release reads 1"),
        ({"version": "b0123456789"}, "version: says b0123456789, its parts make b"),
        ({"version": "../../x"}, r"\$\.version"),
        ({"parts": {}}, "no handbook, tag_encoder, tagger"),
        ({"parts": {"spaces/../..": {"version": "1", "files": {}}}}, "is no part of a bundle"),
        ({"parts": {"spaces/linear": {"version": "1", "files": {}, "dimension": 0}}}, r"\$\.parts\[...\]\.dimension"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused_naming_why(bundle: Path, change: dict[str, object], why: str) -> None:
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    parts = change.get("parts")
    merged = document | change | ({"parts": document["parts"] | parts} if parts else {})
    path.write_text(json.dumps(merged))
    with pytest.raises(BundleMismatch, match=why):
        read_manifest(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(BundleMismatch, match=r"manifest\.json"):
        read_manifest(bundle)
    with pytest.raises(BundleMismatch, match="tagstream bundle build"):
        read_manifest(bundle / "nowhere")


def test_the_version_follows_the_parts(bundle: Path) -> None:
    parts = read_manifest(bundle).parts
    space = parts["spaces/linear"]
    others = [
        parts | {"tagger": msgspec.structs.replace(parts["tagger"], version="2")},
        parts | {"tag_encoder": msgspec.structs.replace(parts["tag_encoder"], version="2")},
        parts | {"spaces/linear": msgspec.structs.replace(space, version="2")},
        parts | {"spaces/linear": msgspec.structs.replace(space, dimension=5)},
        parts | {"spaces/linear": msgspec.structs.replace(space, files=dict(list(space.files.items())[:1]))},
        parts | {"spaces/other": space},
        parts | {"merge": Part("1", {})},
        {name: part for name, part in parts.items() if name != "spaces/linear"},
    ]
    versions = [derived_version(each) for each in [parts, *others]]
    assert len(set(versions)) == len(versions)
    assert derived_version(dict(reversed(parts.items()))) == versions[0]
    assert versions[-1] == version_of(("t", "1", "1"), {})
