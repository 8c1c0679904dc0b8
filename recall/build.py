"""Puts the online stores together from the settings. Milvus and the encoder are reached when a query first needs them, not before."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from models.roles import TagEncoder
from recall.notes import RedisNotes
from recall.pointer import active_bundle, encoder_of
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.errors import BundleMismatch
from schemas.keys import Keys
from schemas.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recall.query import RecallStores


class LateTagEncoder:
    """A tag encoder that is loaded when it is first asked for something."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: TagEncoder | None = None

    @property
    def dimension(self) -> int:
        return self._encoder().dimension

    @property
    def version(self) -> str:
        return self._encoder().version

    def encode(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        return self._encoder().encode(texts)

    def _encoder(self) -> TagEncoder:
        if self._loaded is None:
            from models.encoder import load_tag_encoder

            self._loaded = checked(load_tag_encoder(self._settings), self._settings)
        return self._loaded


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
            f"the vectors of bundle {bundle} are made by tag encoder {made_by}, the settings here give {encoder.version}; "
            "set TAGSTREAM_TAG_ENCODER and TAGSTREAM_TAG_ENCODER_PRECISION as the consumers have them"
        )
    return encoder


def tag_encoder(settings: Settings) -> TagEncoder:
    """The tag encoder of the settings, loaded on first use."""
    return cast(TagEncoder, LateTagEncoder(settings))


def open_readers(settings: Settings) -> tuple[RedisProfiles, RedisNotes, str | None]:
    """Profiles and notes of the live bundle, and its version; where none is live yet, empty ones and None.

    Raises:
        Transient: Redis does not answer.
    """
    client = redis_client(settings)
    bundle = active_bundle(client, settings)
    keys = Keys(settings.namespace, bundle or "")
    return RedisProfiles(client, keys), RedisNotes(client, keys), bundle


def open_stores(settings: Settings) -> "RecallStores":
    """All stores of the live bundle; see ``open_readers``."""
    from recall.note_index import MilvusNoteIndex
    from recall.query import RecallStores

    profiles, notes, bundle = open_readers(settings)
    return RecallStores(profiles, notes, MilvusNoteIndex(settings, bundle or ""), settings, bundle)
