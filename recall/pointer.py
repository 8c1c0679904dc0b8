"""Which bundle is live, and which tag encoder made its vectors: Redis keys that readers follow."""

from recall.redis_client import Client, redis_errors
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


def _text(client: Client, key: str) -> str | None:
    with redis_errors():
        held = client.get(key)
    return (held if isinstance(held, str) else held.decode()) if held else None


def _encoder_key(settings: Settings, bundle: str) -> str:
    return f"{settings.namespace or 'ts'}:bundle:{bundle}:encoder"
