"""Which bundle is live, and which learned parts made its vectors: Redis keys that readers follow.

Pointer, history and registry of a namespace share a cluster slot (``{bundles}``), so that one script moves the pointer and says so.
"""

import time
from pathlib import Path

import msgspec
from msgspec import Struct

from models.bundle import Identity
from recall.redis_client import Client, redis_errors
from schemas.errors import BundleMismatch
from schemas.settings import Settings

# KEYS: pointer, history, registry. ARGV: expected version ("" = none is live), new version, history entry, and, for a bundle that need not
# be registered yet, its registration. Answers whether the pointer was moved.
MOVE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[4] then redis.call('HSETNX', KEYS[3], ARGV[2], ARGV[4]) end
if redis.call('HEXISTS', KEYS[3], ARGV[2]) == 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[3])
return 1
"""


class Registered(Struct, frozen=True):
    """A bundle that consumers may write: since when (epoch ms), and the directory that it was built in, "" for what the settings make."""

    registered_at: int
    directory: str = ""


class Switch(Struct, frozen=True):
    """One move of the pointer. ``kind``: ``first``, ``activate`` or ``rollback``; ``before`` is None for the first; ``forced``: the reason
    given for going on although a check had refused; ``refused``: what had."""

    at: int
    kind: str
    bundle: str
    before: str | None = None
    forced: str = ""
    refused: list[str] = []


def pointer_key(settings: Settings) -> str:
    """The key that holds the active bundle's version."""
    return _key(settings, "active")


def now_ms() -> int:
    """Wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def register(client: Client, settings: Settings, bundle: str, directory: str) -> None:
    """Admits a bundle: consumers of it may run beside those of the live one. The first registration's time stays; a directory is kept over
    none."""
    held = registered(client, settings).get(bundle)
    if held is not None and (held.directory == directory or not directory):
        return
    entry = _entry(directory, now_ms() if held is None else held.registered_at)
    with redis_errors():
        client.hset(_key(settings, "registry"), bundle, entry)


def _entry(directory: str, at: int) -> bytes:
    return msgspec.json.encode(Registered(at, str(Path(directory).absolute()) if directory else ""))


def registered(client: Client, settings: Settings) -> dict[str, Registered]:
    """The bundles that consumers may write, by version."""
    with redis_errors():
        held = client.hgetall(_key(settings, "registry"))
    return {_str(version): msgspec.json.decode(entry, type=Registered) for version, entry in held.items()}


def unregister(client: Client, settings: Settings, bundle: str) -> None:
    """Forgets a bundle: its consumers are refused from now on, and what was announced of its parts is gone."""
    with redis_errors():
        client.hdel(_key(settings, "registry"), bundle)
        client.delete(_parts_key(settings, bundle))
        client.delete(_encoder_key(settings, bundle))


def move(client: Client, settings: Settings, switch: Switch, *also: bytes) -> bool:
    """Moves the pointer from ``switch.before`` to ``switch.bundle`` and keeps the entry, in one step.

    Args:
        also: the registration of a bundle that need not have one yet.

    Returns:
        False, and nothing changed, when another bundle is live by now or the new one is not registered.
    """
    keys = [_key(settings, name) for name in ("active", "history", "registry")]
    with redis_errors():
        return bool(client.eval(MOVE, len(keys), *keys, switch.before or "", switch.bundle, msgspec.json.encode(switch), *also))


def history(client: Client, settings: Settings) -> list[Switch]:
    """Every move of the pointer, oldest first."""
    with redis_errors():
        held = client.lrange(_key(settings, "history"), 0, -1)
    return [msgspec.json.decode(entry, type=Switch) for entry in held]


def active_bundle(client: Client, settings: Settings) -> str | None:
    """The live bundle's version; None before the first one was activated."""
    return _text(client, pointer_key(settings))


def activate_if_none(client: Client, settings: Settings, bundle: str) -> str:
    """Makes ``bundle`` the live one where there is none yet, and returns the live one: with another version the caller builds a shadow."""
    if active_bundle(client, settings) is None:
        move(client, settings, Switch(now_ms(), "first", bundle), _entry(settings.bundle, now_ms()))
    return active_bundle(client, settings) or bundle


def encoder_of(client: Client, settings: Settings, bundle: str) -> str | None:
    """Version of the tag encoder that makes the bundle's vectors; None where no consumer has said so."""
    return _text(client, _encoder_key(settings, bundle))


def name_encoder(client: Client, settings: Settings, bundle: str, version: str) -> None:
    """Says which tag encoder makes the bundle's vectors."""
    with redis_errors():
        client.set(_encoder_key(settings, bundle), version)


def name_parts(client: Client, settings: Settings, bundle: str, parts: Identity) -> None:
    """Says which learned parts make the bundle's vectors.

    Raises:
        BundleMismatch: naming the part, when somebody said otherwise of the same bundle.
    """
    key = _parts_key(settings, bundle)
    with redis_errors():
        client.set(key, msgspec.json.encode(parts), nx=True)
    held = parts_of(client, settings, bundle)
    if held is not None and (why := parts.differs(held)):
        raise BundleMismatch(f"bundle {bundle} was announced with other parts: {why}; build it anew, so that it gets a version of its own")
    name_encoder(client, settings, bundle, parts.encoder)


def parts_of(client: Client, settings: Settings, bundle: str) -> Identity | None:
    """The learned parts of a bundle; None where no consumer has said so."""
    held = _text(client, _parts_key(settings, bundle))
    if held is None:
        encoder = encoder_of(client, settings, bundle)
        return None if encoder is None else Identity(encoder)
    try:
        return msgspec.json.decode(held, type=Identity)
    except msgspec.DecodeError as error:
        raise BundleMismatch(f"redis key {_parts_key(settings, bundle)}: {error}") from None


def _parts_key(settings: Settings, bundle: str) -> str:
    return f"{settings.namespace or 'ts'}:bundle:{bundle}:parts"


def _key(settings: Settings, name: str) -> str:
    return f"{{bundles}}:{settings.namespace or 'ts'}:{name}"


def _text(client: Client, key: str) -> str | None:
    with redis_errors():
        held = client.get(key)
    return _str(held) if held else None


def _str(held: str | bytes) -> str:
    return held if isinstance(held, str) else held.decode()


def _encoder_key(settings: Settings, bundle: str) -> str:
    return f"{settings.namespace or 'ts'}:bundle:{bundle}:encoder"
