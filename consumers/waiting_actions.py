"""Actions that were sent again and wait for their note's tags again: handled, and yet they do not count."""

from collections.abc import Sequence

from models.profile_update import open_profile
from recall.pointer import active_bundle
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.events import Interaction
from schemas.keys import Keys
from schemas.settings import Settings
from streams.dead_letter_log import LetterId
from streams.redrive_outcome import Followed

READERS_AT_ONCE = 500


def waiting_again(settings: Settings, followed: Sequence[Followed]) -> set[LetterId]:
    """Those of the handled letters whose action waits in its reader's record, of the live bundle.

    Raises:
        Transient: when Redis does not answer.
    """
    readers: dict[str, list[Followed]] = {}
    for one in followed:
        letter = one.redriven.letter
        if one.outcome == "handled" and letter.source.event is Interaction and "user_id" in letter.ids:
            readers.setdefault(letter.ids["user_id"], []).append(one)
    if not readers:
        return set()
    client = redis_client(settings)
    bundle = active_bundle(client, settings)
    if bundle is None:
        return set()
    profiles = RedisProfiles(client, Keys(settings.namespace, bundle))
    waiting: set[LetterId] = set()
    users = list(readers)
    for start in range(0, len(users), READERS_AT_ONCE):
        for user_id, held in profiles.read(users[start : start + READERS_AT_ONCE]).items():
            pending = {(action.partition, action.offset) for action in open_profile(held.record, settings).pending}
            waiting |= {one.redriven.letter.id for one in readers[user_id] if _place(one) in pending}
    return waiting


def _place(one: Followed) -> tuple[int, int]:
    to = one.redriven.to
    assert to is not None
    return to.partition, to.offset
