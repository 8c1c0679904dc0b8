"""``tagstream replay``."""

import logging
import sys
from contextlib import suppress

import click
from rich.console import Console

from consumers.build import JOBS, READS
from consumers.replay import Asked, Progress, Replayed, bound, replay, target_of
from recall.cli import DATA, print_json
from recall.pointer import now_ms
from schemas.settings import load
from streams.jobs import Stop, stop_on_signals

TOPICS = {topic.name: job for job, topic in READS.items()}
EVERYTHING = "all"


@click.command()
@click.argument("topic", type=click.Choice([*TOPICS, EVERYTHING]))
@click.option("--job", type=click.Choice(JOBS), help="The job that handles it; each topic has one.")
@click.option("--into", required=True, metavar="BUNDLE", help="The bundle to build: its directory, or its version under DATA/bundles.")
@click.option("--from", "since", metavar="T", help="Begin at epoch ms, an age (30d) or offsets (0:1200,1:1190); default the beginning.")
@click.option("--to", "until", metavar="T", help="End there; default `end`: and on with what is being produced until caught up.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most so many records a second, per process.")
@click.option("--allow-gap", is_flag=True, help="Go on although retention took records that are wanted.")
@click.option("--dry-run", is_flag=True, help="Print the writes, one JSON line each, and make none.")
@click.option("--follow", is_flag=True, help="With `all`: then stay, as the bundle's own consumers, so that it does not fall behind.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout: counts by job.")
@DATA
def replay_command(
    *, topic: str, job: str | None, into: str, since: str | None, until: str | None, rate: float | None, allow_gap: bool, dry_run: bool,
    follow: bool, as_json: bool, data: str | None,
) -> None:  # fmt: skip
    """Send the events of a topic through a job once more, into the keys and collections of another bundle.

    TOPIC is note-events (job tag-notes), note-tagged (index-notes), interactions (update-profiles), or `all`: these three in that order.
    The live bundle and its readers notice nothing: while a live consumer is more than TAGSTREAM_REPLAY_LIVE_LAG records behind, the
    replay waits. It goes on where it was after a kill; start it more than once to share the partitions.

    Example: tagstream replay note-events --job tag-notes --into .tagstream/bundles/b0123456789
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if topic != EVERYTHING and job not in (None, TOPICS[topic]):
        raise click.UsageError(f"--job: topic {topic} is handled by {TOPICS[topic]}, not by {job}")
    if topic == EVERYTHING and (job or since or until or dry_run):
        raise click.UsageError("`all` replays everything; for --job, --from, --to or --dry-run name one topic")
    if follow and topic != EVERYTHING:
        raise click.UsageError("--follow goes with `all`")
    settings = load(data=data)
    target = target_of(settings, into)
    moment, done = now_ms(), dict[str, Replayed]()
    with stop_on_signals(Stop()) as stop:
        for name in JOBS if topic == EVERYTHING else (TOPICS[topic],):
            asked = Asked(
                job=name, since=bound(since, moment, "--from"), until=bound(until, moment, "--to"), rate=rate or 0.0, allow_gap=allow_gap,
                dry_run=dry_run,
            )  # fmt: skip
            with _Line(name) as line:
                done[name] = replay(target, asked, stop, line.show)
            if not done[name].complete:
                break
    _end(done, as_json and not dry_run)
    if follow and not stop.requested:
        _follow(target.bundle)


def _follow(directory: str) -> None:
    """Goes on as the bundle's own consumers, in this very process."""
    import os

    click.echo("caught up; going on as the bundle's consumers until SIGTERM", err=True)
    sys.stdout.flush()
    environ = os.environ | {"TAGSTREAM_BUNDLE": directory}
    os.execve(sys.executable, [sys.executable, "-m", "tagstream", "consume", "all"], environ)  # noqa: S606 - our own command


def _end(done: dict[str, Replayed], as_json: bool) -> None:
    if as_json:
        print_json(done)
    for name, one in done.items():
        state = "caught up" if one.complete else "stopped early, the same command goes on"
        waits = f", waited {one.waited} times for live work" if one.waited else ""
        click.echo(
            f"{name}: {one.handled:,} of {one.total:,} events into {one.bundle}, {one.dead_lettered:,} dead-lettered{waits}: {state}",
            err=True,
        )
    if not all(one.complete for one in done.values()):
        sys.exit(1)


class _Line:
    """The progress, in one line of a terminal that changes, or a line now and then elsewhere."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status(f"{job}: starting") if self._console.is_terminal else None
        self._calls = 0

    def __enter__(self) -> "_Line":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, progress: Progress) -> None:
        """Takes a new state."""
        total = progress.done + progress.left
        eta = f", {progress.eta_s:,.0f} s left" if progress.eta_s is not None and progress.left else ""
        share = f" ({progress.done / total:.0%})" if total else ""
        text = f"{self._job}: {progress.done:,} of {total:,}{share}, {progress.per_s:,.0f}/s{eta}"
        if progress.waits_for:
            text += "; waits for live work: " + ", ".join(f"{group} is {behind:,} behind" for group, behind in progress.waits_for.items())
        if self._status is not None:
            self._status.update(text)
        elif self._calls % 5 == 0:
            with suppress(OSError):
                self._console.print(text, soft_wrap=True)
        self._calls += 1
