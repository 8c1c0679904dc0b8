"""Puts the online stores together from the settings. Milvus and the encoder are reached when a query first needs them, not before."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.roles import TagEncoder
from recall.note_index import MilvusNoteIndex
from recall.notes import RedisNotes
from recall.pointer import active_bundle
from recall.profiles import RedisProfiles
from recall.query import RecallStores
from recall.redis_client import redis_client, redis_errors
from schemas.keys import Keys
from schemas.settings import Settings


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

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encoder().encode(texts)

    def _encoder(self) -> TagEncoder:
        if self._loaded is None:
            from models.encoder import load_tag_encoder

            self._loaded = load_tag_encoder(self._settings)
        return self._loaded


def tag_encoder(settings: Settings) -> TagEncoder:
    """The tag encoder of the settings, loaded on first use."""
    return cast(TagEncoder, LateTagEncoder(settings))


def open_stores(settings: Settings) -> RecallStores:
    """The stores of the live bundle; where none is live yet, empty ones.

    Raises:
        Transient: Redis does not answer.
    """
    client = redis_client(settings)
    with redis_errors():
        bundle = active_bundle(client, settings)
    keys = Keys(settings.namespace, bundle or "")
    return RecallStores(
        profiles=RedisProfiles(client, keys),
        notes=RedisNotes(client, keys),
        index=MilvusNoteIndex(settings, bundle or ""),
        settings=settings,
        bundle=bundle,
    )
