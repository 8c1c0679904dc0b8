"""A bundle: everything learned that must go together, under one version. From a directory that ``tagstream bundle build`` made, or, without
one, what the settings make: the shipped handbook, its tagger and the tag encoder of the settings.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from models.bundle_manifest import (
    HANDBOOK,
    MERGE,
    MERGE_FILE,
    SPACE_FILE,
    SPACES,
    TAG_ENCODER,
    TAGGER,
    TAGGER_FILE,
    TRANSCRIBER,
    BundleManifest,
    MergeWeights,
    SpaceCard,
    TaggerCard,
    check_part,
    read_card,
    read_manifest,
    version_of,
)
from models.roles import Space, TagEncoder, Tagger, Transcriber
from models.spaces import load_space
from schemas.errors import BundleMismatch
from schemas.settings import Settings


class SpacePart(Struct, frozen=True):
    """What identifies a learned space."""

    dimension: int
    version: str


class Identity(Struct, frozen=True):
    """What a reader must have in common with the consumers that made a bundle's vectors. ``encoder``: the tag encoder's version;
    ``weights``: of the merge, by channel."""

    encoder: str
    spaces: dict[str, SpacePart] = {}
    weights: dict[str, float] = {}

    def differs(self, other: "Identity") -> str | None:
        """The first part in which they disagree, in words; None if they agree."""
        if self.encoder != other.encoder:
            return f"tag_encoder: version {self.encoder} here, {other.encoder} there"
        for name in sorted(self.spaces.keys() | other.spaces.keys()):
            here, there = self.spaces.get(name), other.spaces.get(name)
            if here is None or there is None:
                return f"{SPACES}/{name}: only {'there' if here is None else 'here'}"
            if here.dimension != there.dimension:
                return f"{SPACES}/{name}: dimension {here.dimension} here, {there.dimension} there"
            if here.version != there.version:
                return f"{SPACES}/{name}: version {here.version} here, {there.version} there"
        return f"{MERGE}: other weights here than there" if self.weights != other.weights else None


class Learned:
    """A bundle's parts. ``spaces`` by name. The tagger and the transcriber, None where there is none, are loaded when first asked for: not
    every job needs them.

    Args:
        open_tagger: loads the tagger.
        encoder: the tag encoder.
        version: the bundle's.
        spaces: by name.
        weights: of the merge, by channel.
        open_transcriber: loads the transcriber.
    """

    def __init__(
        self,
        open_tagger: Callable[[], Tagger],
        encoder: TagEncoder,
        version: str,
        spaces: dict[str, Space],
        weights: dict[str, float],
        *,
        open_transcriber: Callable[[], Transcriber | None] = lambda: None,
    ) -> None:
        self._open_tagger = open_tagger
        self._open_transcriber = open_transcriber
        self.encoder = encoder
        self.version = version
        self.spaces = spaces
        self.weights = weights

    @cached_property
    def tagger(self) -> Tagger:
        """The tagger.

        Raises:
            BundleMismatch: it is not the bundle's.
        """
        return self._open_tagger()

    @cached_property
    def transcriber(self) -> Transcriber | None:
        """What writes speech down for it.

        Raises:
            BundleMismatch: it is not the bundle's.
        """
        return self._open_transcriber()

    @property
    def identity(self) -> Identity:
        """What readers compare with."""
        spaces = {name: SpacePart(space.dimension, space.version) for name, space in self.spaces.items()}
        return Identity(self.encoder.version, spaces, self.weights)


class Named(Protocol):
    """What identifies a tagger."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...


class Unloaded(NamedTuple):
    """A tagger that is not loaded."""

    name: str
    version: str


def bundle_version(tagger: Named, encoder: TagEncoder, transcriber: str | None = None, correction: str = "") -> str:
    """The version of a bundle without learned spaces: ``b`` and ten hex digits over the names and versions of the parts; ``transcriber``:
    its version, where there is one; ``correction``: see ``TaggerCard``."""
    from models.build import version_with

    names = (tagger.name, version_with(tagger.version, correction), encoder.version)
    return version_of(names, {TRANSCRIBER: transcriber} if transcriber else {})


class Bundle:
    """A bundle directory, opened: its manifest is sound, its files are checked part by part before they are loaded.

    Raises:
        BundleMismatch: see ``read_manifest``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest: BundleManifest = read_manifest(directory)
        self._checked: set[str] = set()

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.manifest.version

    def check(self, names: Iterable[str] | None = None) -> None:
        """Sizes and hashes of parts, all by default; what was found sound once is not read again.

        Raises:
            BundleMismatch: naming the part, the file and what is wrong.
        """
        for name in self.manifest.parts if names is None else names:
            if name not in self._checked:
                faults = check_part(self.directory, name, self.manifest.parts[name])
                if faults:
                    more = f" (and {len(faults) - 1} more: `tagstream bundle verify`)" if len(faults) > 1 else ""
                    raise BundleMismatch(f"bundle {self.directory}: {faults[0]}{more}")
                self._checked.add(name)

    def encoder(self, settings: Settings) -> TagEncoder:
        """The tag encoder."""
        from models.encoder import open_tag_encoder
        from models.handbook import load_handbook

        self.check((TAG_ENCODER, HANDBOOK))
        encoder = open_tag_encoder(self.directory / TAG_ENCODER, settings, lambda: load_handbook(self.directory / HANDBOOK).glossary())
        self._agrees(TAG_ENCODER, encoder.version, encoder.dimension)
        return encoder

    def tagger(self, encoder: TagEncoder, settings: Settings) -> Tagger:
        """The tagger, on this bundle's encoder and handbook.

        Args:
            encoder: this bundle's.
            settings: where a model is that the bundle only refers to; where they do not say, it is looked for where it was built from.

        Raises:
            BundleMismatch: the settings choose another tagger, or its model, prompt or handbook is not what the bundle was built with.
        """
        from models.build import TAGGERS, build_tagger, card_of, correction_of, version_with
        from models.handbook import load_handbook

        self.check((TAGGER, HANDBOOK))
        card = read_card(self.directory / TAGGER_FILE, TaggerCard)
        if card.name not in TAGGERS:
            raise BundleMismatch(f"bundle {self.directory}: {TAGGER}: this release has no tagger {card.name!r}")
        if settings.tagger not in ("", card.name):
            raise BundleMismatch(
                f"bundle {self.directory}: {TAGGER}: the bundle has {card.name}, TAGSTREAM_TAGGER says {settings.tagger}; unset it, or "
                "build a bundle with that tagger"
            )
        chosen = replace(
            settings,
            tagger_max_tags=card.max_tags,
            endpoint_model=settings.endpoint_model or card.model,
            vlm_model=settings.vlm_model or card.place,
        )
        if card.style:
            chosen = replace(chosen, endpoint_prompt=card.style)
        tagger = build_tagger(chosen, encoder, card.name, load_handbook(self.directory / HANDBOOK))
        here = card_of(tagger, card.max_tags, correction_of(chosen))
        for what in ("model", "prompt", "handbook", "correction"):
            if getattr(here, what) != getattr(card, what):
                raise BundleMismatch(
                    f"bundle {self.directory}: {TAGGER}: {what}: the bundle was built with {getattr(card, what) or 'none'}, here it is "
                    f"{getattr(here, what) or 'none'}; use that {what}, or build another bundle"
                )
        self._agrees(TAGGER, version_with(tagger.version, here.correction), None)
        return tagger

    def space(self, name: str, encoder: TagEncoder) -> Space:
        """One learned space, on this bundle's encoder."""
        part = f"{SPACES}/{name}"
        self.check((part,))
        card = read_card(self.directory / part / SPACE_FILE, SpaceCard)
        self._agrees(part, card.version, card.dimension)
        space = load_space(self.directory / part, encoder)
        if space.name != name:
            raise BundleMismatch(f"bundle {self.directory}: {part}: holds space {space.name!r}")
        self._agrees(part, space.version, space.dimension)
        return space

    def transcriber(self, settings: Settings) -> Transcriber | None:
        """The transcriber; None where the bundle has none.

        Raises:
            BundleMismatch: when the setting ``transcriber_model`` names another one than the bundle's.
        """
        from models.transcriber import open_transcriber
        from models.transcriber.pipeline import SenseVoiceTranscriber

        part, asked = self.manifest.parts.get(TRANSCRIBER), transcriber_version(settings)
        if asked is not None and (part is None or part.version != asked):
            held = f"holds version {part.version}" if part else "has none"
            raise BundleMismatch(
                f"bundle {self.directory}: {TRANSCRIBER}: {held}, the setting transcriber_model names {settings.transcriber_model} "
                f"(version {asked}); leave the setting empty, or build the bundle with it"
            )
        if part is None:
            return None
        self.check((TRANSCRIBER,))
        if part.name != SenseVoiceTranscriber.name:
            raise BundleMismatch(f"bundle {self.directory}: {TRANSCRIBER}: this release has no transcriber {part.name!r}")
        transcriber = open_transcriber(self.directory / TRANSCRIBER, settings)
        self._agrees(TRANSCRIBER, transcriber.version, None)
        return transcriber

    @property
    def weights(self) -> dict[str, float]:
        """Merge weights by channel; none where the bundle has no such part."""
        if MERGE not in self.manifest.parts:
            return {}
        self.check((MERGE,))
        card = read_card(self.directory / MERGE_FILE, MergeWeights)
        return card.weights

    @property
    def identity(self) -> Identity:
        """What readers and consumers compare with, from the manifest."""
        spaces = {name: SpacePart(part.dimension or 0, part.version) for name, part in self.manifest.spaces.items()}
        return Identity(self.manifest.parts[TAG_ENCODER].version, spaces, self.weights)

    def _agrees(self, name: str, version: str, dimension: int | None) -> None:
        part = self.manifest.parts[name]
        for what, found, said in (("version", version, part.version), ("dimension", dimension, part.dimension)):
            if found != said:
                raise BundleMismatch(f"bundle {self.directory}: {name}: {what}: loaded {found}, the manifest says {said}")


def load_learned(settings: Settings) -> Learned:
    """Everything learned that the settings name, checked.

    Raises:
        BundleMismatch: when the directory of the setting ``bundle`` disagrees with its manifest, or a part with what it is said to be.
        BadSetting: when the tag encoder cannot be loaded.
    """
    from models.build import DEFAULT

    if not settings.bundle:
        return _of_settings(settings)

    bundle = Bundle(Path(settings.bundle))
    bundle.check()
    encoder = bundle.encoder(settings)
    spaces = {name: bundle.space(name, encoder) for name in bundle.manifest.spaces}
    made = Learned(
        lambda: bundle.tagger(encoder, settings),
        encoder,
        bundle.version,
        spaces,
        bundle.weights,
        open_transcriber=lambda: find_transcriber(settings),
    )
    if bundle.manifest.parts[TAGGER].name == DEFAULT:
        made.tagger  # noqa: B018 - no large model: what disagrees shows in every job
    return made


def _of_settings(settings: Settings) -> Learned:
    """What the settings make; a vision-language model is not loaded to know its version."""
    from models.build import build_tagger, correction_of, vlm_version_of
    from models.encoder import load_tag_encoder
    from models.handbook import load_handbook

    encoder = load_tag_encoder(settings)
    tagger = None if settings.tagger == "vlm" else build_tagger(settings, encoder)
    known = tagger or Unloaded("vlm", vlm_version_of(settings, load_handbook()))

    def open_tagger() -> Tagger:
        made = tagger or build_tagger(settings, encoder)
        if made.version != known.version:
            raise BundleMismatch(f"vlm_model: {settings.vlm_model} changed while it was loaded: {known.version} before, {made.version} now")
        return made

    version = bundle_version(known, encoder, transcriber_version(settings), correction_of(settings))
    return Learned(open_tagger, encoder, version, {}, {}, open_transcriber=lambda: find_transcriber(settings))


def find_transcriber(settings: Settings) -> Transcriber | None:
    """The transcriber of the bundle that the settings name, or of the settings themselves; None where neither has one.

    Raises:
        BundleMismatch: see ``Bundle.transcriber``.
        BadSetting: when it cannot be loaded.
    """
    from models.transcriber import load_transcriber

    return Bundle(Path(settings.bundle)).transcriber(settings) if settings.bundle else load_transcriber(settings)


def transcriber_version(settings: Settings) -> str | None:
    """The version of the setting ``transcriber_model``, without loading it; None where it is empty."""
    from models.transcriber.files import speech_files
    from models.transcriber.load import transcriber_directory

    return speech_files(transcriber_directory(settings.transcriber_model)).version() if settings.transcriber_model else None
