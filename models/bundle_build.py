"""Putting a bundle directory together: into a scratch directory beside the target, which is renamed once it is whole and sound."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from models.bundle_faults import faults_of
from models.bundle_manifest import (
    FORMAT,
    HANDBOOK,
    MANIFEST,
    MERGE,
    MERGE_FILE,
    SPACE_FILE,
    SPACES,
    TAG_ENCODER,
    TAGGER,
    TAGGER_FILE,
    TRANSCRIBER,
    BundleManifest,
    FileEntry,
    MergeWeights,
    Part,
    SpaceCard,
    derived_version,
    entry_of,
    read_card,
    read_manifest,
)
from schemas.errors import BadSetting, BundleMismatch
from schemas.settings import Settings
from schemas.writes import TAG_SPACE

Tell = Callable[[str], None]
Sources = Mapping[str, Path | bytes]
"""What a bundle's files are made of, by path within it: a file to copy, or its content."""


def build_bundle(
    settings: Settings, spaces: Sequence[Path], merge: Path | None, out: Path | None, tell: Tell, *, handbook: Path | None = None
) -> Path:
    """Builds a bundle of the handbook, tagger, transcriber and tag encoder, learned spaces and merge weights.

    Of a tagger's language model it holds what identifies it, not the weights.

    A build that was killed goes on with the files that it had copied; the same parts built again change nothing.

    Args:
        settings: tag encoder, tagger, transcriber, and ``data``, under which the bundle goes by default (``bundles/VERSION``).
        spaces: directories of learned spaces, each with a ``space.json``.
        merge: a JSON file ``{"weights": {channel: weight}}``.
        out: the directory to make instead.
        tell: gets a line per part.
        handbook: directory of another handbook than the shipped one.

    Returns:
        The bundle's directory.

    Raises:
        BadSetting: ``out`` is there and is no bundle of this version; a source is a link or not as it must be.
    """
    parts, sources = _core(settings, handbook, tell)
    if settings.transcriber_model:
        parts[TRANSCRIBER], files = _transcriber(settings)
        tell(f"{TRANSCRIBER}: {parts[TRANSCRIBER].version}, {_size(parts[TRANSCRIBER]):.1f} MB")
        sources |= files
    for directory in spaces:
        name, part, files = _space(directory)
        if name in parts:
            raise BadSetting(f"--space: {name.removeprefix(f'{SPACES}/')} is given twice; one directory for each space")
        tell(f"{name}: {part.version}, dimension {part.dimension}, {_size(part):.1f} MB")
        parts[name] = part
        sources |= files
    if merge is not None:
        files = {MERGE_FILE: _merge(merge)}
        parts[MERGE] = _part(files, "")
        parts[MERGE] = msgspec.structs.replace(parts[MERGE], version=parts[MERGE].digest[:12])
        sources |= files
    version = derived_version(parts)
    target = out or Path(settings.data, "bundles", version)
    manifest = BundleManifest(format=FORMAT, version=version, created_at=time.time_ns() // 1_000_000, parts=parts)
    with _alone(target):
        if not _there(target, version, replace=out is None):
            _write(target, manifest, sources, tell)
    return target


def _core(settings: Settings, directory: Path | None, tell: Tell) -> tuple[dict[str, Part], dict[str, Path | bytes]]:
    """Handbook, tagger and tag encoder; ``directory`` of another handbook than the shipped one."""
    from models.build import build_tagger, card_of, correction_of, version_with
    from models.encoder import encoder_directory, load_tag_encoder
    from models.handbook import HANDBOOK_DIR, load_handbook

    handbook = load_handbook(directory or HANDBOOK_DIR)
    plain = msgspec.structs.replace(settings, bundle="")
    tell("tag encoder: loading, exported first where that was not done yet")
    encoder = load_tag_encoder(plain, handbook.glossary())
    tagger = build_tagger(plain, encoder, handbook=handbook)
    correction = correction_of(plain)
    card = card_of(tagger, settings.tagger_max_tags, correction, _place(settings.vlm_model) if tagger.name == "vlm" else "")
    files: dict[str, dict[str, Path | bytes]] = {
        HANDBOOK: {f"{HANDBOOK}/{path.name}": path for path in sorted((directory or HANDBOOK_DIR).glob("*.yaml"))},
        TAGGER: {TAGGER_FILE: msgspec.json.encode(card)},
        TAG_ENCODER: {
            f"{TAG_ENCODER}/{name}": encoder_directory(plain) / name for name in ("manifest.json", "model.onnx", "tokenizer.json")
        },
    }
    parts = {
        HANDBOOK: _part(files[HANDBOOK], handbook.version),
        TAGGER: msgspec.structs.replace(_part(files[TAGGER], version_with(tagger.version, correction)), name=tagger.name),
        TAG_ENCODER: _part(files[TAG_ENCODER], encoder.version, encoder.dimension),
    }
    for name, part in parts.items():
        tell(f"{name}: {part.version}, {_size(part):.1f} MB")
    return parts, {path: source for of in files.values() for path, source in of.items()}


def _place(model: str) -> str:
    """The setting ``vlm_model`` as it holds in any working directory."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _transcriber(settings: Settings) -> tuple[Part, dict[str, Path | bytes]]:
    """The transcriber's part and files: those that its texts depend on."""
    from models.transcriber.files import speech_files
    from models.transcriber.load import transcriber_directory
    from models.transcriber.pipeline import SenseVoiceTranscriber

    found = speech_files(transcriber_directory(settings.transcriber_model))
    files: dict[str, Path | bytes] = {f"{TRANSCRIBER}/{path.name}": path.resolve() for path in found.parts}
    return msgspec.structs.replace(_part(files, found.version()), name=SenseVoiceTranscriber.name), files


def _space(directory: Path) -> tuple[str, Part, dict[str, Path | bytes]]:
    """A learned space's part and files; a link is refused, what it points to may change."""
    card = read_card(directory / SPACE_FILE, SpaceCard)
    if card.name == TAG_SPACE:
        raise BadSetting(f"{directory / SPACE_FILE}: $.name: {TAG_SPACE} is the tag encoder's space")
    files: dict[str, Path | bytes] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise BadSetting(f"--space: {path} is a link or no plain file; put the file itself there")
        if path.is_file():
            files[f"{SPACES}/{card.name}/{path.relative_to(directory).as_posix()}"] = path
    return f"{SPACES}/{card.name}", _part(files, card.version, card.dimension), files


def _merge(path: Path) -> bytes:
    weights = read_card(path, MergeWeights)
    if not weights.weights:
        raise BadSetting(f"--merge: {path}: $.weights: names no channel")
    return msgspec.json.format(msgspec.json.encode(weights, order="deterministic"))


def _part(files: Sources, version: str, dimension: int | None = None) -> Part:
    return Part(version, {path: _entry(source) for path, source in files.items()}, dimension)


def _entry(source: Path | bytes) -> FileEntry:
    if isinstance(source, Path):
        return entry_of(source)
    from hashlib import sha256

    return FileEntry(sha256(source).hexdigest(), len(source))


def _size(part: Part) -> float:
    """Megabytes."""
    return sum(entry.bytes for entry in part.files.values()) / 1e6


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One build of a target at a time; others wait."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _there(target: Path, version: str, *, replace: bool) -> bool:
    """Whether the bundle is built already; with ``replace`` a broken one makes room for a new one.

    Raises:
        BadSetting: something else is there.
    """
    if not target.exists():
        return False
    try:
        held, faults = read_manifest(target).version, [str(fault) for fault in faults_of(target)]
    except BundleMismatch as error:
        held, faults = "", [str(error)]
    if held == version and not faults:
        return True
    if not replace:
        what = f"holds bundle {held}, these parts make {version}" if held not in ("", version) else f"is no sound bundle: {faults[0]}"
        raise BadSetting(f"--out: {target} {what}; name a directory that does not exist")
    shutil.rmtree(target)
    return False


def _write(target: Path, manifest: BundleManifest, sources: Sources, tell: Tell) -> None:
    """All files into the scratch directory, then the manifest, then the rename that makes the bundle appear whole."""
    scratch = target.parent / f".{target.name}.building"
    scratch.mkdir(exist_ok=True)
    wanted = {path: entry for part in manifest.parts.values() for path, entry in part.files.items()}
    for left in [path for path in scratch.rglob("*") if path.is_symlink() or path.is_file()]:
        if left.relative_to(scratch).as_posix() not in wanted:
            left.unlink()
    for path, entry in wanted.items():
        place = scratch / path
        if place.is_file() and entry_of(place) == entry:
            continue
        tell(f"writing {path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        source = sources[path]
        if isinstance(source, Path):
            shutil.copyfile(source, place)
        else:
            place.write_bytes(source)
    (scratch / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    if faults := faults_of(scratch):
        raise BadSetting(f"a source changed while it was copied: {faults[0]}; build again")
    scratch.rename(target)
