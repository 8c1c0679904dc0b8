"""How a replay makes room for live work: on this machine's processors, in the stores, behind live consumers, at a shared chat endpoint.

A tagger in the process is nobody else's: the replay's computes when no other process wants to. A chat endpoint is shared, and what was
sent there cannot be called back. One that knows priorities (vLLM) is told the replay's and orders all requests by itself. For any other
one the replay keeps few requests there, and sends none while live notes wait to be tagged.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from consumers.build import JOBS, READS, group_of
from models.bundle import Bundle
from models.bundle_manifest import TAGGER
from schemas.settings import Settings
from streams.live_lag import LagGate

NICE = 10
BATCHES = ("tag_notes_batch", "index_notes_batch", "update_profiles_batch")


def step_back(idle: bool) -> None:
    """This process computes at a lower priority; with ``idle`` only when no other wants to, as far as the system lets it say so. For the
    calling thread and those it starts from now on."""
    os.nice(max(0, NICE - os.nice(0)))
    if not idle:
        return
    with suppress(AttributeError, OSError):  # not on this system, or not allowed in this container
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def in_small_batches(target: Settings) -> Settings:
    """The settings of a job that replays: what it asks of the stores at a time is small, so that live work never waits long behind it."""
    return replace(target, **{name: min(getattr(target, name), target.replay_batch) for name in BATCHES})


def behind_at_the_endpoint(settings: Settings, bundle: Bundle) -> Settings:
    """The settings by which a replay into a bundle asks a chat endpoint: with the priority of a replay where one is set, else a few notes
    at a time, so that the gate (``live_first``) is looked at before every few requests."""
    told = replace(settings, endpoint_priority=settings.endpoint_replay_priority)
    if told.endpoint_priority:
        return told
    few = min(settings.endpoint_concurrency, settings.endpoint_replay_concurrency)
    batch = few if _asks_endpoint(settings, bundle) else settings.tag_notes_batch
    return replace(told, endpoint_concurrency=few, tag_notes_batch=min(settings.tag_notes_batch, batch))


@contextmanager
def live_first(target: Settings, live: str | None, bundle: Bundle, job: str) -> Iterator[LagGate | None]:
    """The gate that is closed while consumers of the live bundle are behind.

    Args:
        target: of the replay, see ``behind_at_the_endpoint``.
        live: version of the live bundle, if there is one.
        bundle: that is replayed into.
        job: that replays.
    """
    if live is None:
        yield None
        return
    topics = {group_of(name, target, live): READS[name].within(target.namespace).name for name in JOBS}
    bounds = dict.fromkeys(topics, target.replay_live_lag)
    if job == "tag-notes" and _asks_endpoint(target, bundle) and not target.endpoint_priority:
        bounds[group_of(job, target, live)] = min(target.replay_live_lag, target.endpoint_replay_live_lag)
    with LagGate(target, topics, bounds) as gate:
        yield gate


def _asks_endpoint(settings: Settings, bundle: Bundle) -> bool:
    return bundle.manifest.parts[TAGGER].name == "endpoint" or settings.transcriber_correction
