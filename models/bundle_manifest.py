"""A bundle's manifest: what its parts are, and whether the files on disk are those. Nothing it names is trusted before it is checked.

A bundle is one directory. ``manifest.json`` lists every file by part, with size and SHA-256; the bundle's version follows from the parts,
so that the same parts have the same version wherever they are built.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from schemas.errors import BundleMismatch

FORMAT = 1
MANIFEST = "manifest.json"
HANDBOOK, TAGGER, TAG_ENCODER, MERGE, SPACES, TRANSCRIBER = "handbook", "tagger", "tag_encoder", "merge", "spaces", "transcriber"
TAGGER_FILE, MERGE_FILE, SPACE_FILE = "tagger.json", "merge.json", "space.json"
MANIFEST_BYTES_MAX = 16_000_000
Card = TypeVar("Card", "SpaceCard", "TaggerCard", "MergeWeights")
_HEX = r"^[0-9a-f]{64}$"
_PART = re.compile(r"^(handbook|tagger|tag_encoder|merge|transcriber|spaces/[a-z][a-z0-9_]{0,30})$")


class FileEntry(Struct, frozen=True):
    """One file as it must be."""

    sha256: Annotated[str, Meta(pattern=_HEX)]
    bytes: Annotated[int, Meta(ge=0)]


class Part(Struct, frozen=True, omit_defaults=True):
    """One part. ``version``: its own; ``name``: which implementation, of a tagger or transcriber; ``files``: by path
    within the bundle, with /."""

    version: str
    files: dict[str, FileEntry]
    dimension: Annotated[int, Meta(ge=1)] | None = None
    name: str | None = None

    @property
    def digest(self) -> str:
        """Hash over the names and contents of its files."""
        lines = "".join(f"{path}\x00{entry.sha256}\n" for path, entry in sorted(self.files.items()))
        return hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()


class BundleManifest(Struct, frozen=True, kw_only=True):
    """``manifest.json``. ``created_at``: epoch ms."""

    format: int
    version: Annotated[str, Meta(pattern=r"^b[0-9a-f]{10}$")]
    created_at: int
    parts: dict[str, Part]

    @property
    def spaces(self) -> dict[str, Part]:
        """The learned spaces by name."""
        return {name.removeprefix(f"{SPACES}/"): part for name, part in self.parts.items() if name.startswith(f"{SPACES}/")}


class SpaceCard(Struct, frozen=True):
    """``space.json`` of a learned space; what else the file holds is the space's own."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Annotated[str, Meta(min_length=1)]
    dimension: Annotated[int, Meta(ge=1)]
    version: Annotated[str, Meta(min_length=1)]


class TaggerCard(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``tagger.json``: which tagger, and what its version depends on. Of one with a language model, whose weights a bundle does not hold:
    ``model`` its id or the hash of its weights, ``style`` the name of its prompts, ``prompt`` and ``handbook`` the versions of both.
    ``correction``: prompt version and model that put transcripts right, empty where none does. ``place``: where the weights of ``vlm``
    were found, as the setting ``vlm_model`` has it; not part of the version, since the same weights may lie elsewhere."""

    name: str
    max_tags: Annotated[int, Meta(ge=1)]
    model: str = ""
    style: str = ""
    prompt: str = ""
    handbook: str = ""
    correction: str = ""
    place: str = ""


class MergeWeights(Struct, frozen=True, forbid_unknown_fields=True):
    """``merge.json``: how much each channel weighs in the merge; 0 leaves it out."""

    weights: dict[str, Annotated[float, Meta(ge=0)]] = field(default_factory=dict)


class Fault(NamedTuple):
    """What disagrees: in which part, where (a file, ``dimension``, ``version``), and how."""

    part: str
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.part}: {self.where}: {self.reason}"


def version_of(names: tuple[str, str, str], extras: Mapping[str, str]) -> str:
    """``b`` and ten hex digits over a tagger's name and version, the tag encoder's version, and what else the bundle has.

    Args:
        names: the three.
        extras: by part what identifies it; without any the version is that of a system without a bundle directory.
    """
    parts = "\x00".join((*names, *(f"{part}={identity}" for part, identity in sorted(extras.items()))))
    return "b" + hashlib.blake2b(parts.encode(), digest_size=5).hexdigest()


def derived_version(parts: Mapping[str, Part]) -> str:
    """The version that the parts make."""
    tagger = parts[TAGGER]
    more = {name: part for name, part in parts.items() if name not in (HANDBOOK, TAGGER, TAG_ENCODER)}
    extras = {
        name: part.version if name == TRANSCRIBER else f"{part.version}/{part.dimension}/{part.digest}" for name, part in more.items()
    }
    return version_of((tagger.name or "", tagger.version, parts[TAG_ENCODER].version), extras)


def read_manifest(directory: Path) -> BundleManifest:
    """Reads a manifest and checks what can be checked without reading a file: names, paths, and that the version is that of its parts.

    Raises:
        BundleMismatch: naming what is wrong.
    """
    path = directory / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > MANIFEST_BYTES_MAX:
            raise BundleMismatch(f"{path}: is a link or larger than a manifest may be")
        manifest = msgspec.json.decode(path.read_bytes(), type=BundleManifest)
    except OSError as error:
        raise BundleMismatch(f"{path}: cannot be read ({error.strerror}); give the directory that `tagstream bundle build` made") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleMismatch(f"{path}: {error}") from None
    if manifest.format != FORMAT:
        raise BundleMismatch(f"{path}: format {manifest.format}, this release reads {FORMAT}; build the bundle anew")
    if missing := {HANDBOOK, TAGGER, TAG_ENCODER} - set(manifest.parts):
        raise BundleMismatch(f"{path}: $.parts: no {', '.join(sorted(missing))}")
    for name, part in manifest.parts.items():
        if not _PART.match(name):
            raise BundleMismatch(f"{path}: $.parts: {name!r} is no part of a bundle")
        for file in part.files:
            if not _belongs(file, name):
                raise BundleMismatch(f"{path}: part {name}: {file!r} is no path within the part")
    made = derived_version(manifest.parts)
    if made != manifest.version:
        raise BundleMismatch(f"{path}: version: says {manifest.version}, its parts make {made}")
    return manifest


def _belongs(file: str, part: str) -> bool:
    """A plain relative path to the part's own file or below its directory."""
    path = PurePosixPath(file)
    plain = file == str(path) and not path.is_absolute() and ".." not in path.parts and "\\" not in file and "\x00" not in file
    return plain and (file == f"{part}.json" or file.startswith(f"{part}/"))


def check_part(directory: Path, name: str, part: Part) -> list[Fault]:
    """Sizes and hashes of a part's files, files that the manifest does not list, and links."""
    faults = [fault for file, entry in part.files.items() if (fault := _check_file(directory, name, file, entry)) is not None]
    return faults + [Fault(name, file, "not in the manifest") for file in files_below(directory, name) if file not in part.files]


def _check_file(directory: Path, name: str, file: str, entry: FileEntry) -> Fault | None:
    path = directory
    for step in PurePosixPath(file).parts:
        path = path / step
        if path.is_symlink():
            return Fault(name, file, "is a link, or behind one")
    if not path.is_file():
        return Fault(name, file, "is missing")
    size = path.stat().st_size
    if size != entry.bytes:
        return Fault(name, file, f"has {size} bytes, the manifest says {entry.bytes}")
    found = sha256_of(path)
    return None if found == entry.sha256 else Fault(name, file, f"sha256 is {found[:12]}..., the manifest says {entry.sha256[:12]}...")


def files_below(directory: Path, name: str) -> Iterator[str]:
    """Paths, within the bundle, of everything but directories below a part's own directory; links are named, not followed."""
    for path in sorted((directory / name).rglob("*")) if (directory / name).is_dir() else []:
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(directory).as_posix()


def entry_of(path: Path) -> FileEntry:
    """Size and hash of a file."""
    return FileEntry(sha256_of(path), path.stat().st_size)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's contents."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_card(path: Path, kind: type[Card]) -> Card:
    """One of a bundle's small JSON files.

    Raises:
        BundleMismatch: naming the file and the field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise BundleMismatch(f"{path}: cannot be read ({error.strerror})") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleMismatch(f"{path}: {error}") from None
