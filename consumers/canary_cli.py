"""``tagstream canary``."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from consumers.canary_log import CanaryRun
from recall.cli import DATA, JSON, print_json
from schemas.events import NoteEvent
from schemas.settings import Settings, load
from streams.jobs import Stop, stop_on_signals

if TYPE_CHECKING:
    from consumers.canary import Canary

FLUSH_S = 10.0


class Watched(Struct, frozen=True):
    """What the command did. ``left``: canaries that are not gone yet; the next start cleans them up."""

    found: int
    late: int
    skipped: int
    left: int
    runs: list[CanaryRun]


@click.command(epilog="Example: tagstream canary --once")
@click.option("--once", is_flag=True, help="One canary, then end; the same as --until 1.")
@click.option("--until", type=click.IntRange(min=1), metavar="N", help="End after N canaries.")
@click.option("--verbose", "-v", is_flag=True, help="Also log the canaries that are found.")
@JSON
@DATA
def canary(once: bool, until: int | None, verbose: bool, as_json: bool, data: str | None) -> None:
    """Publish a canary note every TAGSTREAM_CANARY_INTERVAL_S and look for it through recall, until SIGTERM.

    A canary travels like any note and is deleted once it is found; readers never get it. One that recall does not find within
    TAGSTREAM_CANARY_LATE_S is warned of here, counted at TAGSTREAM_METRICS_PORT and listed by `tagstream slo`. What a crash leaves behind
    the next start cleans up. Exit status 1: with --once or --until, one was not found in time.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    settings = load(data=data)
    rounds = 1 if once else until
    if not settings.canary_interval_s and rounds is None:
        click.echo("canary: off, TAGSTREAM_CANARY_INTERVAL_S is 0", err=True)
        if as_json:
            print_json(Watched(0, 0, 0, 0, []))
        return
    with stop_on_signals(Stop()) as stop, open_canary(settings) as bird:
        click.echo("canary: running", err=True)
        runs = watch(bird, settings.canary_interval_s, rounds, stop)
        left = bird.finish()
    counts = Counter(run.outcome for run in runs)
    done = Watched(counts["found"], counts["late"], counts["skipped"], left, runs)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done.found} found, {done.late} late, {done.skipped} skipped")
    if left:
        click.echo(f"tagstream: {left} canaries are not gone yet; the next start of `tagstream canary` cleans them up", err=True)
    failed = [run for run in runs if run.outcome != "found"]
    if failed and rounds is not None:
        click.echo(f"tagstream: canary {failed[0].outcome}: {failed[0].detail}", err=True)
        sys.exit(1)


def watch(bird: "Canary", interval_s: float, rounds: int | None, stop: Stop) -> list[CanaryRun]:
    """Canaries at the interval; returns how the last hundred (with ``rounds``, all) did."""
    runs: list[CanaryRun] = []
    done = 0
    while not stop.requested and done != rounds:
        began = time.monotonic()
        run = bird.run(stop)
        if run is not None:
            runs = [*runs, run][-max(rounds or 0, 100) :]
        done += 1
        if done != rounds:
            rest(stop, began + interval_s)
    return runs


def rest(stop: Stop, until: float) -> None:
    """Waits until a moment on the monotonic clock, or until told to stop."""
    while not stop.requested and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


@contextmanager
def open_canary(settings: Settings) -> "Iterator[Canary]":
    """The canary over the live bundle, topics and metrics of the settings."""
    from consumers.canary import Canary
    from consumers.canary_log import RedisCanaryLog
    from recall.build import open_live
    from recall.pointer import active_bundle
    from recall.redis_client import redis_client
    from recall.serving import LiveStores
    from schemas.codec import encode, version_headers
    from schemas.topics import NOTE_EVENTS
    from streams.metrics import Metrics
    from streams.publisher import KafkaPublisher

    client = redis_client(settings)
    live = LiveStores(lambda: open_live(settings), lambda: active_bundle(client, settings), 1)
    metrics = Metrics()
    metrics.serve(settings.metrics_port)
    topic = NOTE_EVENTS.within(settings.namespace).name
    publisher = KafkaPublisher(settings, linger_ms=0)

    def send(event: NoteEvent) -> None:
        publisher.publish(topic, event.note_id.encode(), encode(event), version_headers(event))
        publisher.flush(FLUSH_S)

    try:
        yield Canary(live, RedisCanaryLog(client, settings.namespace), send, settings.canary_late_s, metrics=metrics)
    finally:
        publisher.close()
