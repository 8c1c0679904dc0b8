"""Which bundle is live: one Redis key, which readers follow."""

from recall.redis_client import Client, redis_errors
from schemas.settings import Settings


def pointer_key(settings: Settings) -> str:
    """The key that holds the active bundle's version."""
    return f"{settings.namespace or 'ts'}:active-bundle"


def active_bundle(client: Client, settings: Settings) -> str | None:
    """The live bundle's version; None before the first one was activated."""
    with redis_errors():
        held = client.get(pointer_key(settings))
    return (held if isinstance(held, str) else held.decode()) if held else None


def activate_if_none(client: Client, settings: Settings, bundle: str) -> str:
    """Makes ``bundle`` the live one where there is none yet, and returns the live one: with another version the caller builds a shadow."""
    with redis_errors():
        first = client.set(pointer_key(settings), bundle, nx=True)
    if first:
        return bundle
    return active_bundle(client, settings) or bundle
