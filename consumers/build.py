"""Wires each job from the settings: source, handler, stores, engine. Reads from top to bottom; settings end here.

Each job has one consumer group per bundle (``group_of``). So a bundle's consumers, a replay that builds the bundle and whoever goes on
after it share one position, and those of the bundle before keep theirs until it is dropped.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from consumers.recallable import RecallableWatch
from consumers.stores import NoteStore, ProfileStore
from models.bundle import Bundle, Identity, Learned
from recall.live_bundle import live_settings, not_live
from recall.note_index import MilvusNoteIndex
from recall.note_tags import RedisNoteTags
from recall.notes import RedisNotes
from recall.pointer import activate_if_none, active_bundle, name_parts, register, registered
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.keys import Keys
from schemas.settings import Settings
from schemas.topics import INTERACTIONS, NOTE_EVENTS, NOTE_TAGGED, TRAINING_EXAMPLES, Topic
from streams.engine import Engine, Job, Limits
from streams.metrics import Metrics
from streams.publisher import KafkaPublisher
from streams.roles import Publisher, Source, Store
from streams.source import KafkaSource


class Wiring(NamedTuple):
    """What a job is built with. ``dry``: nothing may be made or announced on the servers."""

    settings: Settings
    metrics: Metrics
    stack: ExitStack
    dry: bool = False


@contextmanager
def open_engine(job: str, settings: Settings, source: Callable[[str, str], Source] | None = None) -> Iterator[Engine[Any]]:
    """The engine of one of ``JOBS``, ready to run; what it holds open is closed behind the block.

    Without the setting ``bundle`` the job is the live bundle's, so that consumers started anew after a switch are those that readers need.

    Args:
        source: makes the source of a topic and consumer group; by default Kafka's.

    Raises:
        BundleMismatch: another bundle is live under this namespace.
        Transient: a server does not answer.
    """
    if not settings.bundle:
        settings = live_settings(settings, active_bundle(redis_client(settings), settings))
    with ExitStack() as stack:
        metrics = Metrics()
        metrics.serve(settings.metrics_port)
        build, stores = BUILDERS[job](Wiring(settings, metrics, stack))
        publisher = KafkaPublisher(settings)
        stack.callback(publisher.close)
        group = build.group_id(settings.namespace)
        chosen = KafkaSource(settings, build.topic.name, group) if source is None else source(build.topic.name, group)
        yield Engine(build, chosen, publisher, stores, limits=Limits.of(settings), metrics=metrics)


@contextmanager
def open_dry_engine(job: str, settings: Settings, source: Source, publisher: Publisher, store: Store) -> Iterator[Engine[Any]]:
    """The engine of a job whose writes go to ``publisher`` and ``store`` alone; nothing is made, announced or committed."""
    with ExitStack() as stack:
        build, _ = BUILDERS[job](Wiring(settings, Metrics(), stack, dry=True))
        yield Engine(build, source, publisher, [store], limits=Limits.of(settings))


def group_of(job: str, settings: Settings, bundle: str) -> str:
    """The consumer group of a job of a bundle, within the namespace."""
    return f"{settings.namespace}.tagstream-{job}-{bundle}" if settings.namespace else f"tagstream-{job}-{bundle}"


def build_tag_notes(wiring: Wiring) -> tuple[Job[Any], list[Store]]:
    """Note events -> media that the tagger sees or hears -> tagger -> note-tagged."""
    from consumers.media.opener import opener_for
    from consumers.tag_notes import TagNotes
    from consumers.upgrades import pauses_of, start_upgrades
    from models.endpoint_tagger import EndpointTagger

    settings = wiring.settings
    made = learned(settings)
    if not wiring.dry:
        go_live(settings, made.version, made.identity)
    endpoint = made.tagger.chat if isinstance(made.tagger, EndpointTagger) else None
    if endpoint is not None:
        wiring.stack.callback(endpoint.close)
    opener = opener_for(made, settings)
    if opener is not None:
        wiring.stack.callback(opener.close)
    pauses = pauses_of(settings) if opener is not None else []
    if settings.endpoint_upgrade_s and (endpoint is not None or pauses) and not wiring.dry:
        wiring.stack.callback(start_upgrades(settings, endpoint, pauses))
    open_media = None if opener is None else opener.open
    handler = TagNotes(made.tagger, made.version, NOTE_TAGGED.within(settings.namespace).name, open_media)
    job: Job[Any] = Job(
        name="tag-notes",
        topic=NOTE_EVENTS.within(settings.namespace),
        handle=handler.handle,
        batch_size=settings.tag_notes_batch,
        batch_age_s=settings.tag_notes_batch_age_s,
        group=group_of("tag-notes", settings, made.version),
    )
    return job, []


def build_index_notes(wiring: Wiring) -> tuple[Job[Any], list[Store]]:
    """Tagged notes -> tag encoder and learned spaces -> note records and tag index in Redis, vectors in Milvus."""
    from consumers.index_notes import IndexNotes

    settings = wiring.settings
    made = learned(settings)
    bundle = made.version
    notes = RedisNotes(redis_client(settings), Keys(settings.namespace, bundle))
    index = MilvusNoteIndex(settings, bundle, spaces=list(made.spaces))
    if not wiring.dry:
        may_go_live(settings, bundle, made.identity)  # before collections are made that nobody would read
        index.create(made.encoder.dimension, {name: space.dimension for name, space in made.spaces.items()})
        go_live(settings, bundle, made.identity)
    observe = partial(_observe_stage, wiring.metrics)
    watch = RecallableWatch(notes, index, observe)
    wiring.stack.callback(watch.close)
    job: Job[Any] = Job(
        name="index-notes",
        topic=NOTE_TAGGED.within(settings.namespace),
        handle=IndexNotes(notes, made.encoder, bundle, list(made.spaces.values())).handle,
        batch_size=settings.index_notes_batch,
        batch_age_s=settings.index_notes_batch_age_s,
        group=group_of("index-notes", settings, bundle),
    )
    return job, [NoteStore(notes, index, watch, observe)]


def build_update_profiles(wiring: Wiring) -> tuple[Job[Any], list[Store]]:
    """Interactions -> profile arithmetic -> reader records in Redis. Needs no model: it follows the live bundle where there is one.

    Raises:
        BundleMismatch: the setting ``bundle`` names another one.
    """
    from consumers.training_log import TrainingLog
    from consumers.update_profiles import UpdateProfiles

    settings = wiring.settings
    client = redis_client(settings)
    bundle = Bundle(Path(settings.bundle)).version if wiring.dry else _bundle_of_profiles(settings)
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
        group=group_of("update-profiles", settings, bundle),
    )
    return job, [ProfileStore(profiles)]


def _bundle_of_profiles(settings: Settings) -> str:
    """The bundle that the settings name, else the live one, else what the settings make, which goes live."""
    live = active_bundle(redis_client(settings), settings)
    if live is not None and not settings.bundle:
        return live
    if live is None:
        made = learned(settings)
        version, parts = made.version, made.identity
    else:
        here = Bundle(Path(settings.bundle))
        version, parts = here.version, here.identity
    go_live(settings, version, parts)
    return version


BUILDERS: dict[str, Callable[[Wiring], tuple[Job[Any], list[Store]]]] = {
    "tag-notes": build_tag_notes,
    "index-notes": build_index_notes,
    "update-profiles": build_update_profiles,
}
JOBS = tuple(BUILDERS)
READS: dict[str, Topic] = {"tag-notes": NOTE_EVENTS, "index-notes": NOTE_TAGGED, "update-profiles": INTERACTIONS}
"""What each job consumes."""


def learned(settings: Settings) -> Learned:
    """Everything learned, from the bundle directory of the settings or as they make it."""
    from models.bundle import load_learned

    return load_learned(settings)


def go_live(settings: Settings, bundle: str, parts: Identity) -> None:
    """Makes the bundle the live one where there is none. One that is registered (``tagstream replay --into``) may be written beside it, by
    who names it in the setting ``bundle``.

    Raises:
        BundleMismatch: another one is live and this one is not registered or not named, so what this process would write no reader might
            ever see; or this one was announced with other parts.
    """
    may_go_live(settings, bundle, parts)
    client = redis_client(settings)
    if activate_if_none(client, settings, bundle) == bundle:
        register(client, settings, bundle, settings.bundle)
    else:
        may_go_live(settings, bundle, parts)


def may_go_live(settings: Settings, bundle: str, parts: Identity) -> None:
    """Announces the bundle's parts; raises as ``go_live`` does."""
    client = redis_client(settings)
    live = active_bundle(client, settings)
    if live not in (None, bundle) and not (settings.bundle and bundle in registered(client, settings)):
        raise not_live(settings, live, bundle, parts)
    name_parts(client, settings, bundle, parts)


def _observe_stage(metrics: Metrics, stage: str, seconds: float) -> None:
    metrics.observe("tagstream_stage_seconds", seconds, stage=stage)
