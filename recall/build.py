"""Puts the online stores together from the settings. Milvus and the encoder are reached when a query first needs them, not before."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from models.roles import TagEncoder
from recall.notes import RedisNotes
from recall.pointer import active_bundle
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client, redis_errors
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

            self._loaded = load_tag_encoder(self._settings)
        return self._loaded


def tag_encoder(settings: Settings) -> TagEncoder:
    """The tag encoder of the settings, loaded on first use."""
    return cast(TagEncoder, LateTagEncoder(settings))


def open_readers(settings: Settings) -> tuple[RedisProfiles, RedisNotes, str | None]:
    """Profiles and notes of the live bundle, and its version; where none is live yet, empty ones and None.

    Raises:
        Transient: Redis does not answer.
    """
    client = redis_client(settings)
    with redis_errors():
        bundle = active_bundle(client, settings)
    keys = Keys(settings.namespace, bundle or "")
    return RedisProfiles(client, keys), RedisNotes(client, keys), bundle


def open_stores(settings: Settings) -> "RecallStores":
    """All stores of the live bundle; see ``open_readers``."""
    from recall.note_index import MilvusNoteIndex
    from recall.query import RecallStores

    profiles, notes, bundle = open_readers(settings)
    return RecallStores(profiles, notes, MilvusNoteIndex(settings, bundle or ""), settings, bundle)
