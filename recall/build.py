"""Puts the online stores together from the settings. Milvus and learned parts are reached when a query first needs them, not before."""

from typing import TYPE_CHECKING

from models.bundle import Identity
from recall.live_bundle import LateSpace, live_parts, tag_encoder
from recall.notes import RedisNotes
from recall.pointer import active_bundle
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.keys import Keys
from schemas.settings import Settings

if TYPE_CHECKING:
    from recall.query import RecallStores

__all__ = ["open_readers", "open_stores", "tag_encoder"]


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
    """All stores of the live bundle; see ``open_readers``.

    Raises:
        BundleMismatch: the bundle directory of the settings is not the live bundle; names the part.
    """
    from recall.exploration_budget import RedisExplorationBudget
    from recall.note_index import MilvusNoteIndex
    from recall.query import RecallStores

    profiles, notes, bundle = open_readers(settings)
    budget = RedisExplorationBudget(redis_client(settings), Keys(settings.namespace, bundle or ""))
    parts = live_parts(settings, bundle) or Identity("")
    index = MilvusNoteIndex(settings, bundle or "", spaces=list(parts.spaces))
    spaces = {name: LateSpace(name, parts, bundle or "", settings) for name in parts.spaces}
    return RecallStores(profiles, notes, index, settings, bundle, spaces, parts.weights, budget)
