"""What disagrees in a bundle directory: files with the manifest, and the parts' own words about themselves with what it says of them."""

from collections.abc import Mapping
from pathlib import Path

from models.bundle_manifest import (
    SPACE_FILE,
    SPACES,
    TAG_ENCODER,
    TRANSCRIBER,
    Fault,
    SpaceCard,
    check_part,
    read_card,
    read_manifest,
)
from schemas.errors import BadSetting, BundleMismatch


def faults_of(directory: Path) -> list[Fault]:
    """Everything that disagrees in a bundle directory; empty when it is sound.

    Raises:
        BundleMismatch: the manifest itself cannot be used.
    """
    manifest = read_manifest(directory)
    faults = [fault for name, part in manifest.parts.items() for fault in check_part(directory, name, part)]
    faults += _encoder_faults(directory, manifest.parts[TAG_ENCODER].dimension)
    if TRANSCRIBER in manifest.parts:
        faults += _transcriber_faults(directory, manifest.parts[TRANSCRIBER].version)
    for name, part in manifest.spaces.items():
        faults += _card_faults(directory, name, part.version, part.dimension)
    listed = {file for part in manifest.parts.values() for file in part.files} | {"manifest.json"}
    tops = {file.split("/")[0] for file in listed}
    faults += [Fault("bundle", path.name, "belongs to no part") for path in sorted(directory.iterdir()) if path.name not in tops]
    return faults


def _encoder_faults(directory: Path, dimension: int | None) -> list[Fault]:
    import msgspec

    from models.encoder_export import EncoderManifest

    try:
        found = msgspec.json.decode((directory / TAG_ENCODER / "manifest.json").read_bytes(), type=EncoderManifest).dimension
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return [Fault(TAG_ENCODER, "manifest.json", str(error))]
    return [] if found == dimension else [Fault(TAG_ENCODER, "dimension", f"manifest.json says {found}, the manifest {dimension}")]


def _transcriber_faults(directory: Path, version: str) -> list[Fault]:
    from models.transcriber.files import speech_files

    try:
        found = speech_files(directory / TRANSCRIBER).version()
    except BadSetting as error:
        return [Fault(TRANSCRIBER, "files", str(error))]
    return [] if found == version else [Fault(TRANSCRIBER, "version", f"its files make {found}, the manifest says {version}")]


def _card_faults(directory: Path, name: str, version: str, dimension: int | None) -> list[Fault]:
    part = f"{SPACES}/{name}"
    try:
        card = read_card(directory / part / SPACE_FILE, SpaceCard)
    except BundleMismatch as error:
        return [Fault(part, SPACE_FILE, str(error))]
    said: Mapping[str, tuple[object, object]] = {
        "name": (card.name, name), "version": (card.version, version), "dimension": (card.dimension, dimension)
    }  # fmt: skip
    return [
        Fault(part, what, f"{SPACE_FILE} says {found}, the manifest {listed}") for what, (found, listed) in said.items() if found != listed
    ]
