"""``tagstream topics`` and ``tagstream publish``."""

import sys
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from schemas.settings import Settings, load
from schemas.topics import INTERACTIONS, NOTE_EVENTS, Topic, all_topics
from streams.jobs import Stop, stop_on_signals
from streams.publishing import Line, Published, publish_lines
from streams.topics_admin import TopicState, create_topics, describe_topics

SHOWN_REJECTIONS = 20


@click.group()
def topics() -> None:
    """Creates or shows the Kafka topics.

    Example: tagstream topics create
    """


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def create(as_json: bool) -> None:
    """Creates the topics that do not exist yet; existing ones stay as they are.

    Example: tagstream topics create --json
    """
    settings = load()
    wanted = all_topics(settings.namespace)
    created = set(create_topics(settings, wanted))
    states = describe_topics(settings, wanted)
    _print_states(states, as_json)
    declared = {topic.name: topic for topic in wanted}
    for state in states:
        click.echo(f"{'created' if state.topic in created else 'exists '} {state.topic}", err=True)
        if differs := _difference(state, declared[state.topic]):
            click.echo(f"        {state.topic} differs from what this version declares: {differs}; left as it is", err=True)


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def describe(as_json: bool) -> None:
    """Shows the topics as the broker has them.

    Example: tagstream topics describe
    """
    settings = load()
    _print_states(describe_topics(settings, all_topics(settings.namespace)), as_json)


@click.group()
def publish() -> None:
    """Publishes events from a file of JSON lines, or from standard input.

    Example: tagstream publish notes notes.jsonl
    """


@publish.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Records per second; as fast as possible without it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def notes(file: str, rate: float | None, as_json: bool) -> None:
    """Publishes note events, one JSON document a line; '-' reads standard input.

    Example: tagstream publish notes notes.jsonl --rate 20
    """
    _publish(file, NOTE_EVENTS, rate, as_json)


@publish.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Records per second; as fast as possible without it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def interactions(file: str, rate: float | None, as_json: bool) -> None:
    """Publishes interactions, one JSON document a line; '-' reads standard input.

    Example: tagstream publish interactions - < interactions.jsonl
    """
    _publish(file, INTERACTIONS, rate, as_json)


def _publish(name: str, topic: Topic, rate: float | None, as_json: bool) -> None:
    settings = load()
    if name == "-":
        report = _publish_file(settings, sys.stdin.buffer, topic, rate, 0)
    else:
        path = Path(name)
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                report = _publish_file(settings, file, topic, rate, size)
        except OSError as error:
            raise click.BadParameter(f"{name}: {error.strerror}; give a file of JSON lines or '-'", param_hint="FILE") from None
    if as_json:
        click.echo(msgspec.json.encode({"published": report.published, "rejected": report.rejected}))
    else:
        click.echo(f"{report.published} published, {len(report.rejected)} rejected")
    for rejected in report.rejected[:SHOWN_REJECTIONS]:
        click.echo(f"line {rejected.line}: {rejected.field}: {rejected.reason}", err=True)
    if len(report.rejected) > SHOWN_REJECTIONS:
        click.echo(f"... and {len(report.rejected) - SHOWN_REJECTIONS} more; --json lists them all", err=True)
    if report.stopped_at:
        click.echo(f"stopped after line {report.stopped_at}, as asked", err=True)
    if report.rejected or report.stopped_at:
        sys.exit(1)


def _publish_file(settings: Settings, file: BinaryIO, topic: Topic, rate: float | None, size: int) -> Published:
    """Publishes with a progress bar on stderr: by bytes of a file, by records of a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from streams.publisher import KafkaPublisher
    from streams.topics_admin import describe_topics as check_topics

    target = topic.within(settings.namespace)
    check_topics(settings, [target])
    publisher = KafkaPublisher(settings, linger_ms=50 if rate is None else 5)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress, stop_on_signals(Stop()) as stop:
            task = progress.add_task(f"publishing to {target.name}", total=size or None)

            def show(line: Line) -> None:
                if line.number % 500 == 0:
                    progress.update(task, completed=line.end if size else line.number)

            return publish_lines(file, target, publisher, rate=rate or 0.0, stop=stop, on_line=show)
    finally:
        publisher.close()


def _print_states(states: list[TopicState], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(states))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("topic", "partitions", "retention", "cleanup")
    for state in states:
        kept = "for ever" if state.retention_ms < 0 else f"{state.retention_ms / 86_400_000:g} days"
        table.add_row(state.topic, str(state.partitions), kept, state.cleanup)
    Console().print(table)


def _difference(state: TopicState, topic: Topic) -> str:
    wanted = TopicState(topic.name, topic.partitions, topic.retention_ms, topic.cleanup)
    names = [name for name in ("partitions", "retention_ms", "cleanup") if getattr(state, name) != getattr(wanted, name)]
    return ", ".join(f"{name} {getattr(state, name)} instead of {getattr(wanted, name)}" for name in names)
