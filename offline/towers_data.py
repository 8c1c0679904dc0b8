"""``tagstream offline towers data``: what the towers are trained on, from the stream or from a dataset, as Parquet by day."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console

from offline.example_days import Leak, Manifest, Request, Say, check_days, read_manifest, write_days
from offline.example_sources import DatasetExamples, ExampleSource, KafkaExamples, examples_topic
from schemas.errors import BadSetting
from schemas.settings import Settings, load
from streams.scan import span_reader

KAFKA = "kafka"
LEAKS_SHOWN = 10


@contextmanager
def open_source(source: str, settings: Settings, since_ms: int | None) -> Iterator[ExampleSource]:
    """The source of that name: ``kafka``, or a dataset directory."""
    if source == KAFKA:
        with span_reader(settings, examples_topic(settings)) as reader:
            yield KafkaExamples(settings, reader, since_ms)
        return
    if not Path(source).is_dir():
        raise BadSetting(f"SOURCE: {source} is neither `{KAFKA}` nor a directory; see --help")
    yield DatasetExamples(Path(source), settings)


def collect(source: str, out: Path, settings: Settings, times: tuple[int | None, int | None], say: Say) -> Manifest:
    """Brings ``out`` up to date. ``times``: event time of the first example, and before which the last is."""
    with open_source(source, settings, times[0]) as examples:
        return write_days(examples, Request(examples.identity, *times), out, say)


def moment(text: str | None, option: str) -> int | None:
    """Epoch milliseconds of an ISO time (UTC where it says nothing else) or of a number."""
    if text is None:
        return None
    try:
        if text.isdigit():
            return int(text)
        read = datetime.fromisoformat(text)
    except ValueError:
        hint = f"{text} is no time; write 2026-11-24, 2026-11-24T08:00 or epoch milliseconds"
        raise click.BadParameter(hint, param_hint=option) from None
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command(epilog="Example: tagstream offline towers data kafka --out runs/examples --from 2026-11-01")
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the data; a later run goes on.")
@click.option("--from", "since", metavar="TIME", help="Event time of the first example: 2026-11-24, with hours, or epoch milliseconds.")
@click.option("--to", "until", metavar="TIME", help="Event time before which the last one is.")
@click.option("--check", is_flag=True, help="Write nothing; look once more for leaks in what --out holds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def data(*, source: str, out: Path, since: str | None, until: str | None, check: bool, as_json: bool) -> None:
    """Collect training examples as Parquet by day, point-in-time correct.

    SOURCE is `kafka`, for what update-profiles logs (TAGSTREAM_TRAINING_EXAMPLES_RATE), or a dataset directory in any layout of
    evaluate-recall, whose interactions go through the same job in memory. An example that holds something that was not known at its time
    is named, left out, and the exit status is 1.
    """
    console = Console(stderr=True)
    if check:
        leaks, manifest = check_days(out), read_manifest(out)
    else:
        times = moment(since, "--from"), moment(until, "--to")
        manifest = collect(source, out, load(), times, lambda line: console.print(line, highlight=False))
        leaks = manifest.leaks
    report = {"out": str(out), "checked": manifest.rows, "leaks": leaks} if check else manifest
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
    else:
        click.echo(_summary(out, manifest))
    if leaks:
        _name(leaks, len(leaks) if check else manifest.leaking)
        sys.exit(1)


def _summary(out: Path, manifest: Manifest) -> str:
    left_out = f"{manifest.copies:,} copies, {manifest.leaking:,} leaking, {manifest.refused:,} no valid examples"
    return f"{manifest.rows:,} examples on {manifest.notes:,} notes in {len(manifest.files)} files under {out}; left out: {left_out}"


def _name(leaks: list[Leak], count: int) -> None:
    for leak in leaks[:LEAKS_SHOWN]:
        click.echo(f"leak: {leak.event_id} ({leak.source}/{leak.partition} at {leak.offset}): {leak.leak}", err=True)
    click.echo(f"{count:,} examples hold what was not known at their time; they are left out, see {leaks[0].source}", err=True)
