"""The bundle that is live, as a reader uses it: its learned parts, each loaded when a query first needs it, and refused where they disagree
with what the consumers said that they write.

Readers follow the pointer without being restarted: the setting ``bundle`` names one bundle of a roll-out, and the directory of whichever is
live is found by its version (``live_settings``).
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from models.bundle import Bundle, Identity
from models.bundle_manifest import read_manifest
from models.roles import ActedNote, Space, TagEncoder
from recall.pointer import Registered, active_bundle, encoder_of, parts_of, registered
from recall.redis_client import redis_client
from schemas.errors import BundleMismatch
from schemas.settings import Settings

BUNDLES = "bundles"

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


class LateTagEncoder:
    """A tag encoder that is loaded when it is first asked for something."""

    def __init__(self, settings: Settings, bundle: str | None) -> None:
        self._settings = settings
        self._bundle = bundle
        self._loading = threading.Lock()
        self._loaded: TagEncoder | None = None

    @property
    def dimension(self) -> int:
        return self._encoder().dimension

    @property
    def version(self) -> str:
        return self._encoder().version

    def encode(self, texts: Sequence[str]) -> "Vectors":
        return self._encoder().encode(texts)

    def _encoder(self) -> TagEncoder:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> TagEncoder:
        settings = self._settings
        if self._bundle is None:
            settings = live_settings(settings, active_bundle(redis_client(settings), settings))
        return checked(_load_encoder(settings), settings, self._bundle)


class LateSpace:
    """A learned space of the live bundle that is loaded when it is first asked for a vector."""

    def __init__(self, name: str, parts: Identity, bundle: str, settings: Settings) -> None:
        self.name = name
        self.dimension = parts.spaces[name].dimension
        self.version = parts.spaces[name].version
        self._bundle = bundle
        self._settings = settings
        self._loading = threading.Lock()
        self._loaded: Space | None = None

    def notes(self, tags: Sequence[Sequence[str]], confidences: Sequence[Sequence[float]] | None = None) -> "Vectors":
        """See ``Space``."""
        return self._space().notes(tags, confidences)

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> "Vectors":
        """See ``Space``."""
        return self._space().readers(histories)

    def _space(self) -> Space:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Space:
        if not self._settings.bundle:
            raise BundleMismatch(
                f"spaces/{self.name}: bundle {self._bundle} is live with it, but no bundle is set here; "
                f"set TAGSTREAM_BUNDLE to the directory of {self._bundle}, or leave the channel {self.name} out"
            )
        return Bundle(Path(self._settings.bundle)).space(self.name, tag_encoder(self._settings, self._bundle))


@lru_cache(maxsize=8)
def tag_encoder(settings: Settings, bundle: str | None = None) -> TagEncoder:
    """The tag encoder of a bundle that the settings name, loaded on first use; one for all that ask. Without ``bundle``: of the one that is
    live when it is loaded."""
    return cast(TagEncoder, LateTagEncoder(settings, bundle))


def _load_encoder(settings: Settings) -> TagEncoder:
    if settings.bundle:
        return Bundle(Path(settings.bundle)).encoder(settings)
    from models.encoder import load_tag_encoder

    return load_tag_encoder(settings)


def checked(encoder: TagEncoder, settings: Settings, bundle: str | None = None) -> TagEncoder:
    """The encoder, if it is the one that made the vectors of the bundle, by default of the live one.

    Raises:
        BundleMismatch: naming both versions.
        Transient: Redis does not answer.
    """
    client = redis_client(settings)
    bundle = bundle or active_bundle(client, settings)
    made_by = encoder_of(client, settings, bundle) if bundle else None
    if made_by not in (None, encoder.version):
        raise BundleMismatch(
            f"tag_encoder: the vectors of bundle {bundle} are made by tag encoder {made_by}, the settings here give {encoder.version}; set "
            "TAGSTREAM_BUNDLE, or TAGSTREAM_TAG_ENCODER and TAGSTREAM_TAG_ENCODER_PRECISION, as the consumers have them"
        )
    return encoder


def live_settings(settings: Settings, live: str | None) -> Settings:
    """The settings with the live bundle's directory, if they name another bundle of the same roll-out or none.

    Raises:
        BundleMismatch: they name a bundle that is neither live nor registered; or the live one's directory is not on this machine.
        Transient: Redis does not answer.
    """
    if live is None:
        return settings
    known = registered(redis_client(settings), settings)
    entry = known.get(live)
    if settings.bundle:
        here = Bundle(Path(settings.bundle))
        if here.version == live:
            return settings
        if here.version not in known:
            raise not_live(settings, live, here.version, here.identity)
    directory = find_bundle(settings, live, entry)
    if directory is not None:
        return replace(settings, bundle=str(directory))
    if settings.bundle and entry is not None and entry.directory:
        raise BundleMismatch(f"bundle {live} is live, but its directory is not here; copy it to {Path(settings.data, BUNDLES, live)}")
    return replace(settings, bundle="")


def find_bundle(settings: Settings, version: str, entry: Registered | None = None) -> Path | None:
    """The directory of a bundle by its version: under the data directory, where it was registered, beside that of the settings."""
    places = [Path(settings.data, BUNDLES, version)]
    places += [Path(entry.directory)] if entry and entry.directory else []
    places += [Path(settings.bundle).parent / version] if settings.bundle else []
    return next((place for place in places if place.is_dir() and read_manifest(place).version == version), None)


def live_parts(settings: Settings, live: str | None) -> Identity | None:
    """The learned parts of the live bundle, None where none is live; the bundle directory of the settings, if any, must be that bundle.

    Raises:
        BundleMismatch: naming the part in which they disagree.
    """
    if live is None:
        return None
    there = parts_of(redis_client(settings), settings, live)
    if settings.bundle:
        here = same_as_live(settings, live)
        if there is not None and (why := here.identity.differs(there)):
            raise BundleMismatch(f"bundle {live} in {here.directory} is not the one that is live: {why}")
    return there


def same_as_live(settings: Settings, live: str) -> Bundle:
    """The bundle directory of the settings.

    Raises:
        BundleMismatch: it is not the live bundle, or disagrees with itself.
    """
    here = Bundle(Path(settings.bundle))
    if here.version != live:
        raise not_live(settings, live, here.version, here.identity)
    return here


def not_live(settings: Settings, live: str, here: str, parts: Identity) -> BundleMismatch:
    """The error of a process whose parts make another bundle than the live one."""
    there = parts_of(redis_client(settings), settings, live)
    why = parts.differs(there) if there is not None else None
    return BundleMismatch(
        f"bundle {live} is live under namespace {settings.namespace!r}, but handbook, tagger, encoder and spaces here make {here}"
        f" ({why or 'tagger or handbook differ'}); restore them, or bring the new one in beside the live one: "
        f"`tagstream bundle build`, then `tagstream replay all --into {here}`"
    )
