"""Replays a topic through a job into another bundle, beside the live one. The command is in ``consumers/replay_cli.py``.

The job is the live one; what differs is its source (``streams/replay.py``) and whose keys and collections it writes: those of the bundle.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from consumers.build import READS, group_of, open_dry_engine, open_engine
from consumers.dry_run import PrintingPublisher, PrintingStore
from consumers.live_first import behind_at_the_endpoint, in_small_batches, live_first, step_back
from models.bundle import Bundle
from recall.live_bundle import find_bundle
from recall.pointer import active_bundle, name_parts, register, registered
from recall.redis_client import redis_client
from schemas.errors import BadSetting, MissingPrerequisite
from schemas.settings import Settings
from streams.client import admin_client
from streams.groups import committed, ends, left, partitions_of
from streams.jobs import Counts, Stop
from streams.live_lag import LagGate
from streams.replay import Gate, Pace, ReplaySource
from streams.replay_plan import Bound, Plan, plan_replay
from streams.source import KafkaSource

PROGRESS_S = 1.0


class Asked(Struct, frozen=True, kw_only=True):
    """What is to be replayed. ``rate``: records a second, 0 for no bound."""

    job: str
    since: Bound = None
    until: Bound = None
    rate: float = 0.0
    allow_gap: bool = False
    dry_run: bool = False


class Progress(Struct, frozen=True):
    """How far a replay is: ``left`` and ``done`` are records of all processes that share it; ``waits_for``: live groups that are behind."""

    done: int
    left: int
    seconds: float
    waits_for: dict[str, int] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        """Records a second so far."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds left at that rate; None while nothing is known."""
        return self.left / self.per_s if self.done else None


class Replayed(Struct, frozen=True, kw_only=True):
    """What a replay did. ``total``: records it was to read when it began; ``waited``: how often it let live work go first."""

    job: str
    topic: str
    bundle: str
    resumed: bool
    total: int
    handled: int
    dead_lettered: int
    skipped_as_applied: int
    stale: int
    waited: int
    gaps: list[dict[str, int | None]]
    complete: bool


Say = Callable[[Progress], None]


def target_of(settings: Settings, into: str) -> Settings:
    """The settings of a replay into a bundle: those of the bundle's own jobs, but that live notes go first at a shared endpoint.

    Args:
        into: its directory, or its version if it is under ``DATA/bundles``.

    Raises:
        BadSetting: there is no such bundle here.
        BundleMismatch: it disagrees with its manifest.
    """
    path = Path(into) if Path(into).is_dir() else None
    if path is None:
        path = find_bundle(settings, into, registered(redis_client(settings), settings).get(into))
    if path is None:
        raise BadSetting(
            f"--into: no bundle {into!r} here; give the directory that `tagstream bundle build` printed, or a version under DATA"
        )
    bundle = Bundle(path)
    bundle.check()
    return behind_at_the_endpoint(replace(settings, bundle=str(path)), bundle)


def replay(target: Settings, asked: Asked, stop: Stop, say: Say) -> Replayed:
    """Replays one topic through one job.

    Args:
        target: see ``target_of``.
        stop: ends it early, with what is finished committed.
        say: takes the progress about once a second, from another thread.

    Raises:
        BadSetting: the bundle is live: its own consumers do that work.
        MissingPrerequisite: retention took records that are wanted; or interactions come before the bundle's notes.
        Transient: a server does not answer.
    """
    bundle = Bundle(Path(target.bundle))
    version = bundle.version
    client = redis_client(target)
    live = active_bundle(client, target)
    if live == version:
        raise BadSetting(f"--into: bundle {version} is live, so its consumers are up to date; a replay builds another one beside it")
    topic = READS[asked.job].within(target.namespace).name
    group = group_of(asked.job, target, version)
    plan = plan_replay(target, topic, group, asked.since, asked.until)
    if not asked.allow_gap:
        plan.check_gaps()
    if asked.dry_run:
        return _report(asked, plan, version, _dry(target, asked, plan, stop), complete=not stop.requested)
    if asked.job == "update-profiles":
        check_notes_first(target, version)
    register(client, target, version, target.bundle)
    name_parts(client, target, version, bundle.identity)
    step_back(target.replay_idle)
    ended = Stop()
    with live_first(target, live, bundle, asked.job) as gate, _telling(target, group, plan, gate, say):
        counts = _run(target, asked, plan, gate, _Either(stop, ended))
    complete = ended.requested and not stop.requested
    return _report(asked, plan, version, counts, waited=gate.closures if gate else 0, complete=complete)


def check_notes_first(settings: Settings, bundle: str) -> None:
    """Actions are worth the tags of their notes, so the bundle's notes have to be there before its readers.

    Raises:
        MissingPrerequisite: they are not.
    """
    admin = admin_client(settings)
    for job in ("tag-notes", "index-notes"):
        topic = READS[job].within(settings.namespace).name
        group = group_of(job, settings, bundle)
        behind, begun = left(admin, group, topic), committed(admin, group, topic, partitions_of(admin, topic))
        if behind > settings.rollout_lag or (behind and not begun):
            raise MissingPrerequisite(
                f"{job} of bundle {bundle} is {behind:,} records behind; first run "
                f"`tagstream replay {READS[job].name} --job {job} --into {bundle}`"
            )


class _Either(Stop):
    """Stops when told to, or when everything is read."""

    __slots__ = ("ended", "told")

    def __init__(self, told: Stop, ended: Stop) -> None:
        self.told, self.ended = told, ended

    @property
    def requested(self) -> bool:  # type: ignore[override]
        return self.told.requested or self.ended.requested


def _run(target: Settings, asked: Asked, plan: Plan, gate: Gate | None, either: _Either) -> Counts:
    def source(topic: str, group: str) -> ReplaySource:
        kafka = KafkaSource(target, topic, group, firsts=plan.firsts)
        return ReplaySource(kafka, either.ended, stops=plan.stops, pace=Pace(asked.rate), gate=gate)

    with open_engine(asked.job, in_small_batches(target), source) as engine:
        return engine.run(either)


def _dry(target: Settings, asked: Asked, plan: Plan, stop: Stop) -> Counts:
    """Prints every write; reads in a group of its own that commits nothing."""
    ended = Stop()
    kafka = KafkaSource(target, plan.topic, f"{group_of(asked.job, target, 'dry')}-{uuid.uuid4().hex[:8]}", firsts=plan.firsts)
    source = ReplaySource(kafka, ended, stops=plan.stops, pace=Pace(asked.rate), commits=False)
    with open_dry_engine(asked.job, target, source, PrintingPublisher(), PrintingStore()) as engine:
        return engine.run(_Either(stop, ended))


@contextmanager
def _telling(settings: Settings, group: str, plan: Plan, gate: LagGate | None, say: Say) -> Iterator[None]:
    """Tells the progress of all who share the replay, by what the group committed."""
    over, begun = threading.Event(), time.monotonic()

    def tell() -> None:
        from confluent_kafka import KafkaException

        admin = admin_client(settings)
        while not over.wait(PROGRESS_S):
            try:
                done, to_do = _progress(admin, group, plan)
            except KafkaException:
                continue
            waits = {name: behind for name, behind in gate.behind.items() if behind} if gate is not None and gate.closed else {}
            say(Progress(done, to_do, time.monotonic() - begun, waits))

    thread = threading.Thread(target=tell, name="replay-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PROGRESS_S * 2)


def _progress(admin: Any, group: str, plan: Plan) -> tuple[int, int]:
    """Records done since the plan was made, and left."""
    numbers = [part.partition for part in plan.parts]
    at, last = committed(admin, group, plan.topic, numbers), ends(admin, plan.topic, numbers)
    done = {part.partition: max(part.start, at.get(part.partition, 0)) for part in plan.parts}
    stops = last | plan.stops
    return sum(done[part.partition] - part.start for part in plan.parts), sum(max(0, stops[n] - done[n]) for n in numbers)


def _report(asked: Asked, plan: Plan, bundle: str, counts: Counts, *, waited: int = 0, complete: bool) -> Replayed:
    gaps: Sequence[dict[str, int | None]] = [{"partition": part.partition, "missing": part.missing} for part in plan.gaps]
    return Replayed(
        job=asked.job, topic=plan.topic, bundle=bundle, resumed=plan.resumed, total=plan.left, waited=waited, gaps=list(gaps),
        complete=complete, **counts.to_dict(),
    )  # fmt: skip


def bound(text: str | None, now_ms: int, option: str) -> Bound:
    """A bound as a person writes it: epoch ms, an age such as ``24h``, or offsets ``0:1200,1:1190``; None and ``end`` are no bound.

    Raises:
        BadSetting: it is none of these.
    """
    from recall.cli import UNIT_MS

    if text is None or text == "end":
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    number, unit = text.rstrip("abcdefghijklmnopqrstuvwxyz"), text.lstrip("0123456789.")
    try:
        if unit in UNIT_MS:
            return max(0, now_ms - round(float(number) * UNIT_MS[unit]))
        pairs: list[tuple[Any, ...]] = [tuple(map(int, pair.split(":"))) for pair in text.split(",")]
        if all(len(pair) == 2 and min(pair) >= 0 for pair in pairs):
            return dict(pairs)
    except (ValueError, OverflowError):
        pass
    raise BadSetting(f"{option}: {text!r} is no bound; write epoch milliseconds, an age (24h), or offsets by partition (0:1200,1:1190)")
