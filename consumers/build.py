"""Wires each job from the settings: source, handler, stores, engine. Reads from top to bottom; settings end here."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from consumers.recallable import RecallableWatch
from consumers.stores import NoteStore, ProfileStore
from models.bundle import Identity, Learned
from recall.live_bundle import not_live, same_as_live
from recall.note_index import MilvusNoteIndex
from recall.note_tags import RedisNoteTags
from recall.notes import RedisNotes
from recall.pointer import activate_if_none, active_bundle, name_parts
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.keys import Keys
from schemas.settings import Settings
from schemas.topics import INTERACTIONS, NOTE_EVENTS, NOTE_TAGGED, TRAINING_EXAMPLES
from streams.engine import Engine, Job, Limits
from streams.metrics import Metrics
from streams.publisher import KafkaPublisher
from streams.roles import Store
from streams.source import KafkaSource


@contextmanager
def open_engine(job: str, settings: Settings) -> Iterator[Engine[Any]]:
    """The engine of one of ``JOBS``, ready to run; what it holds open is closed behind the block.

    Raises:
        BundleMismatch: another bundle is live under this namespace.
        Transient: a server does not answer.
    """
    with ExitStack() as stack:
        metrics = Metrics()
        metrics.serve(settings.metrics_port)
        build, stores = BUILDERS[job](settings, metrics, stack)
        publisher = KafkaPublisher(settings)
        stack.callback(publisher.close)
        source = KafkaSource(settings, build.topic.name, build.group_id(settings.namespace))
        yield Engine(build, source, publisher, stores, limits=Limits.of(settings), metrics=metrics)


def build_tag_notes(settings: Settings, _metrics: Metrics, _stack: ExitStack) -> tuple[Job[Any], list[Store]]:
    """Note events -> tagger -> note-tagged."""
    from consumers.tag_notes import TagNotes

    made = learned(settings)
    go_live(settings, made.version, made.identity)
    handler = TagNotes(made.tagger, made.version, NOTE_TAGGED.within(settings.namespace).name)
    job: Job[Any] = Job(
        name="tag-notes",
        topic=NOTE_EVENTS.within(settings.namespace),
        handle=handler.handle,
        batch_size=settings.tag_notes_batch,
        batch_age_s=settings.tag_notes_batch_age_s,
    )
    return job, []


def build_index_notes(settings: Settings, metrics: Metrics, stack: ExitStack) -> tuple[Job[Any], list[Store]]:
    """Tagged notes -> tag encoder and learned spaces -> note records and tag index in Redis, vectors in Milvus."""
    from consumers.index_notes import IndexNotes, group_of

    made = learned(settings)
    bundle = made.version
    may_go_live(settings, bundle, made.identity)  # before collections are made that nobody would read
    notes = RedisNotes(redis_client(settings), Keys(settings.namespace, bundle))
    index = MilvusNoteIndex(settings, bundle, spaces=list(made.spaces))
    index.create(made.encoder.dimension, {name: space.dimension for name, space in made.spaces.items()})
    go_live(settings, bundle, made.identity)
    observe = partial(_observe_stage, metrics)
    watch = RecallableWatch(notes, index, observe)
    stack.callback(watch.close)
    job: Job[Any] = Job(
        name="index-notes",
        topic=NOTE_TAGGED.within(settings.namespace),
        handle=IndexNotes(notes, made.encoder, bundle, list(made.spaces.values())).handle,
        batch_size=settings.index_notes_batch,
        batch_age_s=settings.index_notes_batch_age_s,
        group=_within(settings, group_of(bundle)),
    )
    return job, [NoteStore(notes, index, watch, observe)]


def build_update_profiles(settings: Settings, _metrics: Metrics, _stack: ExitStack) -> tuple[Job[Any], list[Store]]:
    """Interactions -> profile arithmetic -> reader records in Redis. Needs no model: it follows the live bundle where there is one.

    Raises:
        BundleMismatch: the setting ``bundle`` names another one.
    """
    from consumers.training_log import TrainingLog
    from consumers.update_profiles import UpdateProfiles

    client = redis_client(settings)
    bundle = active_bundle(client, settings)
    if bundle is None:
        made = learned(settings)
        bundle = made.version
        go_live(settings, bundle, made.identity)
    elif settings.bundle:
        same_as_live(settings, bundle)
    keys = Keys(settings.namespace, bundle)
    profiles = RedisProfiles(client, keys, settings.profile_cache)
    tags, log = RedisNoteTags(client, keys), None
    if settings.training_examples_rate or settings.training_examples_impressions:
        topic = TRAINING_EXAMPLES.within(settings.namespace).name
        log = TrainingLog(profiles, tags, RedisNotes(client, keys), settings, topic=topic, bundle=bundle)
    handler = UpdateProfiles(profiles, tags, settings, log)
    job: Job[Any] = Job(
        name="update-profiles",
        topic=INTERACTIONS.within(settings.namespace),
        handle=handler.handle,
        gather=handler.gather,
        batch_size=min(settings.update_profiles_batch, log.batch_max) if log else settings.update_profiles_batch,
        batch_age_s=settings.update_profiles_batch_age_s,
    )
    return job, [ProfileStore(profiles)]


BUILDERS: dict[str, Callable[[Settings, Metrics, ExitStack], tuple[Job[Any], list[Store]]]] = {
    "tag-notes": build_tag_notes,
    "index-notes": build_index_notes,
    "update-profiles": build_update_profiles,
}
JOBS = tuple(BUILDERS)


def learned(settings: Settings) -> Learned:
    """Everything learned, from the bundle directory of the settings or as they make it."""
    from models.bundle import load_learned

    return load_learned(settings)


def go_live(settings: Settings, bundle: str, parts: Identity) -> None:
    """Makes the bundle the live one where there is none.

    Raises:
        BundleMismatch: another one is live, so what this process would write no reader would see; or this one was announced with other
            parts.
    """
    may_go_live(settings, bundle, parts)
    live = activate_if_none(redis_client(settings), settings, bundle)
    if live != bundle:
        raise not_live(settings, live, bundle, parts)


def may_go_live(settings: Settings, bundle: str, parts: Identity) -> None:
    """Announces the bundle's parts; raises as ``go_live`` does."""
    client = redis_client(settings)
    live = active_bundle(client, settings)
    if live not in (None, bundle):
        raise not_live(settings, live, bundle, parts)
    name_parts(client, settings, bundle, parts)


def _observe_stage(metrics: Metrics, stage: str, seconds: float) -> None:
    metrics.observe("tagstream_stage_seconds", seconds, stage=stage)


def _within(settings: Settings, group: str) -> str:
    return f"{settings.namespace}.tagstream-{group}" if settings.namespace else f"tagstream-{group}"
