"""Puts the online stores together from the settings. Milvus and learned parts are reached when a query first needs them, not before."""

from typing import TYPE_CHECKING, NamedTuple

from models.bundle import Identity
from models.roles import TagEncoder
from recall.live_bundle import LateSpace, live_parts, live_settings, tag_encoder
from recall.notes import RedisNotes
from recall.pointer import active_bundle
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.keys import Keys
from schemas.settings import Settings

if TYPE_CHECKING:
    from recall.query import RecallStores

__all__ = ["Live", "open_bundle", "open_live", "open_readers", "open_stores", "tag_encoder"]


class Live(NamedTuple):
    """What answers queries: stores and tag encoder of one bundle, so that no answer mixes two."""

    stores: "RecallStores"
    encoder: TagEncoder


def open_readers(settings: Settings) -> tuple[RedisProfiles, RedisNotes, str | None]:
    """Profiles and notes of the live bundle, and its version; where none is live yet, empty ones and None.

    Raises:
        Transient: Redis does not answer.
    """
    client = redis_client(settings)
    bundle = active_bundle(client, settings)
    keys = Keys(settings.namespace, bundle or "")
    return RedisProfiles(client, keys), RedisNotes(client, keys), bundle


def open_live(settings: Settings) -> Live:
    """Stores and tag encoder of the bundle that is live now.

    Raises:
        BundleMismatch: the bundle directory of the settings is not of this roll-out; names the part.
        Transient: Redis does not answer.
    """
    live = active_bundle(redis_client(settings), settings)
    return open_bundle(live_settings(settings, live), live)


def open_bundle(settings: Settings, bundle: str | None) -> Live:
    """Stores and tag encoder of one bundle, live or not, whose directory the settings name if it has one.

    Raises:
        BundleMismatch: the directory is another bundle's; names the part.
    """
    from recall.exploration_budget import RedisExplorationBudget
    from recall.note_index import MilvusNoteIndex
    from recall.query import RecallStores

    client, keys = redis_client(settings), Keys(settings.namespace, bundle or "")
    parts = live_parts(settings, bundle) or Identity("")
    index = MilvusNoteIndex(settings, bundle or "", spaces=list(parts.spaces))
    spaces = {name: LateSpace(name, parts, bundle or "", settings) for name in parts.spaces}
    budget = RedisExplorationBudget(client, keys)
    readers = RedisProfiles(client, keys), RedisNotes(client, keys)
    return Live(RecallStores(*readers, index, settings, bundle, spaces, parts.weights, budget), tag_encoder(settings, bundle))


def open_stores(settings: Settings) -> "RecallStores":
    """The stores of ``open_live``."""
    return open_live(settings).stores
