"""What a bundle's stores hold: its notes, its readers; and taking all of it away."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from models.bundle import Identity
from recall.milvus_client import milvus_client, milvus_errors
from recall.note_collections import KINDS, WRITE_TIMEOUT_S, Place
from recall.redis_client import Client, redis_errors
from schemas.keys import Keys
from schemas.settings import Settings
from schemas.writes import TAG_SPACE

SCAN = 2_000


def readers(client: Client, keys: Keys, count: int, seed: int = 0) -> tuple[int, list[str]]:
    """How many readers there are, and ``count`` of them drawn evenly (reservoir sampling; every key is passed once).

    Raises:
        Transient: Redis does not answer.
    """
    draw, kept, seen = random.Random(seed), list[str](), 0  # noqa: S311 - a sample, no secret
    start = len(keys.profile(""))
    for key in scan(client, keys.profile_pattern()):
        seen += 1
        user_id = key[start:].decode()
        if len(kept) < count:
            kept.append(user_id)
        elif (place := draw.randrange(seen)) < count:
            kept[place] = user_id
    return seen, kept


def scan(client: Client, pattern: str) -> Iterator[bytes]:
    """Keys by pattern; one that is there all the while comes once or more often."""
    with redis_errors():
        yield from client.scan_iter(match=pattern, count=SCAN)


def drop_stores(client: Client, settings: Settings, bundle: str, parts: Identity | None) -> int:
    """Deletes a bundle's keys and collections; returns how many keys.

    Args:
        parts: names its learned spaces.

    Raises:
        Transient: a server does not answer; what is left can be dropped again.
    """
    found, dropped = scan(client, Keys(settings.namespace, bundle).bundle_pattern()), 0
    while batch := list(islice(found, SCAN)):
        with redis_errors(), client.pipeline(transaction=False) as pipe:
            for key in batch:
                pipe.unlink(key)
            dropped += sum(pipe.execute())
    spaces = (TAG_SPACE, *(parts.spaces if parts else ()))
    milvus = milvus_client(settings)
    try:
        for place in (Place(settings.namespace, space, kind, bundle) for space in spaces for kind in KINDS):
            _drop_collection(milvus, place.name)
    finally:
        milvus.close()
    return dropped


def _drop_collection(milvus: Any, name: str) -> None:
    with milvus_errors():
        if milvus.has_collection(name, timeout=WRITE_TIMEOUT_S):
            for alias in milvus.list_aliases(name, timeout=WRITE_TIMEOUT_S)["aliases"]:
                milvus.drop_alias(alias, timeout=WRITE_TIMEOUT_S)
            milvus.drop_collection(name, timeout=WRITE_TIMEOUT_S)
