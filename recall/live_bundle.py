"""The bundle that is live, as a reader uses it: its learned parts, each loaded when a query first needs it, and refused where they disagree
with what the consumers said that they write."""

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from models.bundle import Bundle, Identity
from models.roles import ActedNote, Space, TagEncoder
from recall.pointer import active_bundle, encoder_of, parts_of
from recall.redis_client import redis_client
from schemas.errors import BundleMismatch
from schemas.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


class LateTagEncoder:
    """A tag encoder that is loaded when it is first asked for something."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
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
                self._loaded = checked(_load_encoder(self._settings), self._settings)
            return self._loaded


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

    def notes(self, tags: Sequence[Sequence[str]]) -> "Vectors":
        """See ``Space``."""
        return self._space().notes(tags)

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
        return Bundle(Path(self._settings.bundle)).space(self.name, tag_encoder(self._settings))


@lru_cache(maxsize=8)
def tag_encoder(settings: Settings) -> TagEncoder:
    """The tag encoder of the settings, loaded on first use; one for all that ask."""
    return cast(TagEncoder, LateTagEncoder(settings))


def _load_encoder(settings: Settings) -> TagEncoder:
    if settings.bundle:
        return Bundle(Path(settings.bundle)).encoder(settings)
    from models.encoder import load_tag_encoder

    return load_tag_encoder(settings)


def checked(encoder: TagEncoder, settings: Settings) -> TagEncoder:
    """The encoder, if it is the one that made the live bundle's vectors.

    Raises:
        BundleMismatch: naming both versions.
        Transient: Redis does not answer.
    """
    client = redis_client(settings)
    bundle = active_bundle(client, settings)
    made_by = encoder_of(client, settings, bundle) if bundle else None
    if made_by not in (None, encoder.version):
        raise BundleMismatch(
            f"tag_encoder: the vectors of bundle {bundle} are made by tag encoder {made_by}, the settings here give {encoder.version}; set "
            "TAGSTREAM_BUNDLE, or TAGSTREAM_TAG_ENCODER and TAGSTREAM_TAG_ENCODER_PRECISION, as the consumers have them"
        )
    return encoder


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
        f" ({why or 'tagger or handbook differ'}); restore them, or set TAGSTREAM_NAMESPACE to build the new one beside it"
    )
