"""Switching to another bundle, and back: compare, move the pointer and the aliases, keep what was done, drop what is not needed.

Readers follow the pointer (``recall/serving.py``); each of their answers is made of one bundle. The aliases in Milvus move with it, for
whoever reads the collections by name.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from consumers.build import JOBS, READS, group_of, learned
from consumers.compare import Comparison, Log, Side, Sizes, compare
from models.bundle import Bundle
from recall.build import open_bundle
from recall.census import drop_stores, readers
from recall.live_bundle import find_bundle
from recall.note_index import MilvusNoteIndex
from recall.pointer import Switch, active_bundle, history, move, now_ms, parts_of, registered, unregister
from recall.redis_client import redis_client
from schemas.errors import RolloutRefused
from schemas.keys import Keys
from schemas.records import Message
from schemas.settings import Settings
from schemas.topics import Topic
from streams.client import ASK_S, admin_client
from streams.groups import left, members
from streams.scan import find

RELEASE_S = 10.0
"""How long readers may go on answering from the bundle before, after a switch."""
FIND_S = 60.0
SCANNED = 2_000_000


class Moved(Struct, frozen=True):
    """A switch that took place. ``lag``: of the bundle that is live now, by job; ``refused``: what was overruled."""

    bundle: str
    before: str
    kind: str
    at: int
    refused: list[str]
    lag: dict[str, int]


def settings_of(settings: Settings, bundle: str) -> Settings:
    """The settings of one registered bundle.

    Args:
        bundle: its version, or its directory.

    Raises:
        RolloutRefused: it is not registered, or its directory is not here.
    """
    version = _version(bundle)
    entry = registered(redis_client(settings), settings).get(version)
    if entry is None:
        raise RolloutRefused(f"bundle {version} was never built on these servers; run `tagstream replay all --into {bundle}`")
    path = find_bundle(settings, version, entry)
    if path is None and entry.directory:
        raise RolloutRefused(f"bundle {version}: {entry.directory} is not here; copy it to {Path(settings.data, 'bundles', version)}")
    return replace(settings, bundle=str(path) if path else "")


def _version(bundle: str) -> str:
    """The version of a bundle that is named by it or by its directory."""
    return Bundle(Path(bundle)).version if Path(bundle).is_dir() else bundle


def compare_bundles(settings: Settings, a: str, b: str, sizes: Sizes = Sizes()) -> Comparison:  # noqa: B008 - frozen
    """Compares two registered bundles.

    Raises:
        RolloutRefused: see ``settings_of``.
        MissingPrerequisite: one holds nothing.
        Transient: a server does not answer.
    """
    sides: list[Side] = []
    for bundle in (a, b):
        mine = settings_of(settings, bundle)
        version = _version(bundle)
        census = partial(readers, redis_client(mine), Keys(settings.namespace, version))
        sides.append(Side(version, mine, open_bundle(mine, version), census, learned(mine) if sides else None))
    log = Log(finder(settings), lag_of(settings, sides[1].version), now_ms())
    return compare(sides[0], sides[1], log, sizes)


def lag_of(settings: Settings, bundle: str) -> dict[str, int]:
    """Records that each job of a bundle is behind."""
    admin = admin_client(settings)
    return {job: left(admin, group_of(job, settings, bundle), READS[job].within(settings.namespace).name) for job in JOBS}


def finder(settings: Settings) -> Callable[[Topic, frozenset[str]], tuple[list[Message], bool]]:
    """Scans a topic for records by key."""

    def look(topic: Topic, keys: frozenset[str]) -> tuple[list[Message], bool]:
        wanted = {key.encode() for key in keys}
        name = topic.within(settings.namespace).name
        found = find(settings, name, "", newest=SCANNED, deadline_s=FIND_S, matches=lambda message: message.key() in wanted)
        return sorted(found.messages, key=lambda message: (message.partition(), message.offset())), found.complete

    return look


def activate(settings: Settings, bundle: str, *, force: str = "") -> Moved:
    """Makes a bundle the live one, unless the comparison with the live one, or its lag, speaks against it.

    Args:
        bundle: its version or directory.
        force: the reason for going on all the same; it is kept in the history.

    Raises:
        RolloutRefused: naming what speaks against it.
        Transient: a server does not answer; nothing was switched.
    """
    version, live = _version(bundle), _live(settings)
    if version == live:
        raise RolloutRefused(f"bundle {version} is live already")
    faults = compare_bundles(settings, live, version, Sizes(sampled=200, readers=20, recomputed=15)).faults
    if faults and not force:
        raise RolloutRefused(f"bundle {version} is not activated: {'; '.join(faults)}. Mend it, or overrule with --force REASON")
    return _move(settings, Switch(now_ms(), "activate", version, live, force if faults else "", faults if force else []))


def rollback(settings: Settings) -> Moved:
    """Goes back to the bundle that was live before the present one.

    Raises:
        RolloutRefused: there is none, or it was dropped.
    """
    live = _live(settings)
    before = next((one.before for one in reversed(history(redis_client(settings), settings)) if one.bundle == live), None)
    if before is None:
        raise RolloutRefused(f"bundle {live} is the first one: there is nothing to go back to")
    settings_of(settings, before)
    return _move(settings, Switch(now_ms(), "rollback", before, live))


def _move(settings: Settings, switch: Switch) -> Moved:
    """Aliases, then the pointer, which decides; where it was moved by somebody else in between the aliases go back."""
    client = redis_client(settings)
    assert switch.before is not None
    _point_aliases(settings, switch.bundle)
    if not move(client, settings, switch):
        _point_aliases(settings, switch.before)
        raise RolloutRefused(f"{switch.before} is not live any more, or {switch.bundle} was dropped; see `tagstream bundle history`")
    return Moved(switch.bundle, switch.before, switch.kind, switch.at, switch.refused, lag_of(settings, switch.bundle))


def _point_aliases(settings: Settings, bundle: str) -> None:
    parts = parts_of(redis_client(settings), settings, bundle)
    MilvusNoteIndex(settings, bundle, spaces=list(parts.spaces) if parts else []).activate()


def drop(settings: Settings, bundle: str, wait: Callable[[float], None] = time.sleep) -> int:
    """Deletes what a bundle that is not live has on the servers; its directory stays. Returns how many keys went.

    Raises:
        RolloutRefused: it is live, or its consumers still run.
        Transient: a server does not answer; the same call goes on.
    """
    client = redis_client(settings)
    version = _version(bundle)
    if version == active_bundle(client, settings):
        raise RolloutRefused(f"bundle {version} is live; activate another one, or roll back, first")
    if version not in registered(client, settings):
        raise RolloutRefused(f"bundle {version} is not on these servers; `tagstream bundle list` shows what is")
    admin = admin_client(settings)
    groups = [group_of(job, settings, version) for job in JOBS]
    running = [group for group, count in members(admin, groups).items() if count]
    if running:
        raise RolloutRefused(f"bundle {version}: its consumers still run ({', '.join(running)}); stop them first")
    past = [one for one in history(client, settings) if version in (one.bundle, one.before)]
    if past and (left_ms := past[-1].at + RELEASE_S * 1000 - now_ms()) > 0:
        wait(left_ms / 1000)  # readers that had not looked at the pointer yet may still be answering from it
    parts = parts_of(client, settings, version)
    dropped = drop_stores(client, settings, version, parts)
    _delete_groups(admin, groups)
    unregister(client, settings, version)
    return dropped


def _delete_groups(admin: object, groups: Sequence[str]) -> None:
    """So that the same bundle, built anew, begins at the beginning."""
    from confluent_kafka import KafkaException

    for answer in admin.delete_consumer_groups(list(groups), request_timeout=ASK_S).values():  # type: ignore[attr-defined]
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].name() != "GROUP_ID_NOT_FOUND":
                raise


def _live(settings: Settings) -> str:
    live = active_bundle(redis_client(settings), settings)
    if live is None:
        raise RolloutRefused("no bundle is live yet: run `tagstream consume`")
    return live
