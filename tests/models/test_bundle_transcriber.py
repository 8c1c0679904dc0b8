"""A bundle with a transcriber: carried, checked, and refused by name where it disagrees."""

import json
import shutil

import pytest

from models.bundle import Bundle, find_transcriber, load_learned
from models.bundle_build import build_bundle
from models.bundle_faults import faults_of
from models.bundle_manifest import derived_version, read_manifest
from models.transcriber.export import export
from schemas.errors import BundleMismatch
from schemas.settings import Settings
from tests.models.test_encoder_export import write_encoder
from tests.models.transcriber.voice import write_untrained


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A tag encoder, a transcriber and another one."""
    root = tmp_path_factory.mktemp("data")
    write_encoder(root / "tiny")
    export(write_untrained(root / "torch"), root / "speech", precision="float32")
    shutil.copytree(root / "speech", root / "other")
    with (root / "other" / "am.mvn").open("a") as file:
        file.write("\n")
    return root


def made_of(root, **changes):
    return Settings(data=str(root), tag_encoder=str(root / "tiny"), **changes)


@pytest.fixture(scope="module")
def built(root):
    return build_bundle(made_of(root, transcriber_model=str(root / "speech")), [], None, root / "built", lambda _: None)


@pytest.fixture
def bundle(built, tmp_path):
    return shutil.copytree(built, tmp_path / "bundle")


def test_it_carries_the_transcriber_of_the_settings(root, built):
    settings = made_of(root, transcriber_model=str(root / "speech"))
    plain = find_transcriber(settings)
    carried = find_transcriber(Settings(bundle=str(built)))
    assert carried.version == plain.version == read_manifest(built).parts["transcriber"].version
    assert read_manifest(built).version == load_learned(settings).version != load_learned(made_of(root)).version
    assert faults_of(built) == []


def test_without_one_there_is_none(root):
    built = build_bundle(made_of(root), [], None, root / "deaf", lambda _: None)
    assert find_transcriber(Settings(bundle=str(built))) is None and find_transcriber(made_of(root)) is None
    with pytest.raises(BundleMismatch, match="transcriber: has none, the setting transcriber_model names"):
        find_transcriber(Settings(bundle=str(built), transcriber_model=str(root / "speech")))


def test_another_one_in_the_settings_is_refused(root, built):
    assert find_transcriber(Settings(bundle=str(built), transcriber_model=str(root / "speech"))) is not None
    with pytest.raises(BundleMismatch, match=r"transcriber: holds version .* leave the setting empty"):
        find_transcriber(Settings(bundle=str(built), transcriber_model=str(root / "other")))


@pytest.mark.parametrize("file", ["model.onnx", "config.yaml", "am.mvn", "bpe.model"])
def test_a_file_that_changed_is_refused_by_name(bundle, file):
    with (bundle / "transcriber" / file).open("ab") as handle:
        handle.write(b"\n")
    with pytest.raises(BundleMismatch, match=f"transcriber: transcriber/{file}"):
        Bundle(bundle).transcriber(Settings())
    assert any(fault.where == f"transcriber/{file}" for fault in faults_of(bundle))


@pytest.mark.parametrize(
    ("field", "value", "said"), [("name", "whisper", "no transcriber 'whisper'"), ("version", "0" * 12, "version: loaded")]
)
def test_a_manifest_that_says_otherwise_is_refused(bundle, field, value, said):
    held = json.loads((bundle / "manifest.json").read_text())
    held["parts"]["transcriber"][field] = value
    (bundle / "manifest.json").write_text(json.dumps(held))
    if field == "version":
        with pytest.raises(BundleMismatch, match="its parts make"):
            Bundle(bundle)
        import msgspec

        from models.bundle_manifest import Part

        held["version"] = derived_version(msgspec.convert(held["parts"], dict[str, Part]))
        (bundle / "manifest.json").write_text(json.dumps(held))
        assert [str(fault) for fault in faults_of(bundle) if fault.where == "version"]
    with pytest.raises(BundleMismatch, match=said):
        Bundle(bundle).transcriber(Settings())
