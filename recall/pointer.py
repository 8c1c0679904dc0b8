"""Which bundle is live, and which learned parts made its vectors: Redis keys that readers follow."""

import msgspec

from models.bundle import Identity
from recall.redis_client import Client, redis_errors
from schemas.errors import BundleMismatch
from schemas.settings import Settings


def pointer_key(settings: Settings) -> str:
    """The key that holds the active bundle's version."""
    return f"{settings.namespace or 'ts'}:active-bundle"


def active_bundle(client: Client, settings: Settings) -> str | None:
    """The live bundle's version; None before the first one was activated."""
    return _text(client, pointer_key(settings))


def activate_if_none(client: Client, settings: Settings, bundle: str) -> str:
    """Makes ``bundle`` the live one where there is none yet, and returns the live one: with another version the caller builds a shadow."""
    with redis_errors():
        first = client.set(pointer_key(settings), bundle, nx=True)
    if first:
        return bundle
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


def _text(client: Client, key: str) -> str | None:
    with redis_errors():
        held = client.get(key)
    return (held if isinstance(held, str) else held.decode()) if held else None


def _encoder_key(settings: Settings, bundle: str) -> str:
    return f"{settings.namespace or 'ts'}:bundle:{bundle}:encoder"
