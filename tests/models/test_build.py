"""The tagger is what the settings or the bundle say; a model in a directory is known by its weights."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from models.build import build_tagger, card_of
from models.bundle import bundle_version, load_learned
from models.bundle_build import build_bundle
from models.handbook import load_handbook
from models.vlm_card import digest_of, find_weights
from schemas.errors import BadSetting, BundleMismatch
from schemas.settings import Settings, environ_of
from tests.models.hashing_encoder import HashingEncoder
from tests.models.test_encoder_export import write_encoder
from tests.models.tiny_vlm import tiny_qwen


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("weights") / "tiny"
    tiny_qwen().model.save_pretrained(directory)
    tiny_qwen().processor.save_pretrained(directory)
    return directory


def test_the_default_is_the_handbooks_and_no_other_is_taken_in_its_place() -> None:
    assert build_tagger(Settings(), HashingEncoder()).name == "handbook"
    for settings, missing in (
        (Settings(tagger="vlm"), "TAGSTREAM_VLM_MODEL"),
        (Settings(tagger="endpoint"), "TAGSTREAM_ENDPOINT_URL"),
        (Settings(tagger="endpoint", endpoint_url="127.0.0.1:8000"), "TAGSTREAM_ENDPOINT_URL"),
        (Settings(tagger="endpoint", endpoint_url="http://127.0.0.1:8000/v1"), "TAGSTREAM_ENDPOINT_MODEL"),
    ):
        with pytest.raises(BadSetting, match=missing):
            build_tagger(settings, HashingEncoder())


def test_weights_are_known_by_what_they_are_not_where_they_are(weights: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(weights, tmp_path / "moved"))
    assert digest_of(moved) == digest_of(weights)
    with (moved / "model.safetensors").open("ab") as file:
        file.write(b"\x00")
    assert digest_of(moved) != digest_of(weights)


def test_a_bundle_refers_to_the_weights_that_its_tagger_must_have(weights: Path, tmp_path: Path) -> None:
    write_encoder(tmp_path / "tiny")
    here = Settings(data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"), tagger="vlm", vlm_model=str(weights), vlm_device="cpu")
    made = build_bundle(here, [], None, None, lambda _: None)
    chosen = replace(here, tagger="", bundle=str(made))
    loaded = load_learned(chosen)
    assert (loaded.tagger.name, loaded.version) == ("vlm", made.name)
    assert card_of(loaded.tagger, 10).model == digest_of(weights)
    assert card_of(loaded.tagger, 10).handbook == load_handbook().version
    other = Path(shutil.copytree(weights, tmp_path / "other"))
    config = (other / "generation_config.json").read_text()
    (other / "generation_config.json").write_text(config.replace("{", '{"note": 1,', 1))
    with pytest.raises(BundleMismatch, match=r"tagger: model: the bundle was built with sha256-\w+, here it is sha256-"):
        load_learned(replace(chosen, vlm_model=str(other))).tagger  # noqa: B018
    with pytest.raises(BundleMismatch, match="tagger: version: loaded"):
        load_learned(replace(chosen, guard_evidence=False)).tagger  # noqa: B018
    load_learned(replace(chosen, vlm_model="", tag_notes_batch=1))  # a job that does not tag asks for no weights
    assert load_learned(replace(chosen, vlm_model="")).tagger.version == loaded.tagger.version, "the bundle knows where they are"


@pytest.mark.parametrize("name", ["handbook", "vlm", "weights", "endpoint"])
def test_the_version_of_a_bundle_is_known_without_loading_a_model(name: str, weights: Path, tmp_path: Path) -> None:
    """A job that does not tag asks for no weights, and its bundle is the one of the job that does."""
    write_encoder(tmp_path / "tiny")
    chosen = {
        "handbook": {},
        "vlm": {"tagger": "vlm", "vlm_model": "demo"},
        "weights": {"tagger": "vlm", "vlm_model": str(weights), "vlm_image_pixels": 10_000, "guard_aliases": False},
        "endpoint": {"tagger": "endpoint", "endpoint_url": "http://127.0.0.1:9/v1", "endpoint_model": "m"},
    }
    settings = Settings(data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"), vlm_device="cpu", **chosen[name])  # type: ignore[arg-type]
    made = load_learned(settings)
    assert made.version == bundle_version(build_tagger(settings, made.encoder), made.encoder)
    assert made.tagger.name == (settings.tagger or "handbook")


def test_torch_is_not_imported_for_it(tmp_path: Path) -> None:
    write_encoder(tmp_path / "tiny")
    told = (
        "import sys; from schemas.settings import load; from models.bundle import bundle_version, load_learned; load_learned(load());"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    settings = Settings(data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"), tagger="vlm", vlm_model="demo")
    done = subprocess.run([sys.executable, "-c", told], env=environ_of(settings), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_weights_that_change_between_the_two_are_refused(weights: Path, tmp_path: Path) -> None:
    write_encoder(tmp_path / "tiny")
    mine = Path(shutil.copytree(weights, tmp_path / "mine"))
    made = load_learned(
        Settings(data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"), tagger="vlm", vlm_model=str(mine), vlm_device="cpu")
    )
    (mine / "generation_config.json").write_text("{}")
    with pytest.raises(BundleMismatch, match="changed while it was loaded"):
        made.tagger  # noqa: B018


def test_weights_of_a_hub_are_known_by_their_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def download(model: str, file: str) -> str:
        asked.append((model, file))
        return str(tmp_path / "snapshots" / f"{len(asked)}23456789abcdef" / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    names = [find_weights("Qwen/Qwen3-VL-2B-Instruct").name for _ in range(2)]
    assert names == ["Qwen/Qwen3-VL-2B-Instruct@123456789abc", "Qwen/Qwen3-VL-2B-Instruct@223456789abc"]
    assert set(asked) == {("Qwen/Qwen3-VL-2B-Instruct", "config.json")}
