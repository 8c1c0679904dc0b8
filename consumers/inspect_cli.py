"""``tagstream note``."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from recall.cli import AS_OF, CHANNELS_ASKED, DATA, FRESH_WITHIN, JSON, Identifier, K, console, print_json, query_of
from schemas.events import Tag
from schemas.records import Message
from schemas.settings import Settings, load
from schemas.topics import Topic

if TYPE_CHECKING:
    from rich.text import Text

    from recall.known_note import Inspected

NOT_STORED = ("unknown", "published", "dead_letter")


@click.command(epilog="Example: tagstream note note-17 --user u-3")
@click.argument("note", type=Identifier())
@click.option("--user", type=Identifier(), help="Say why this reader's recall does not return the note.")
@K
@FRESH_WITHIN
@AS_OF
@CHANNELS_ASKED
@JSON
@DATA
def note(note: str, user: str | None, as_json: bool, data: str | None, **asked: Any) -> None:
    """Show where a note is on its way, with its tags, and why a reader does not get it.

    The options of recall apply with --user.
    """
    from consumers.inspect_note import inspect, why_not
    from recall.build import open_live

    settings = load(data=data)
    stores, encoder = open_live(settings)
    found = inspect(note, stores, finder(settings, note))
    recalled = False
    if user is not None and found.state in ("tagged", "recallable") and stores.bundle and stores.notes.get([note]):
        reasons = why_not(note, query_of(user, **asked), stores, encoder)
        recalled = not reasons
        found = replace(found, why_not=[] if recalled else [*found.why_not, *reasons])
    if as_json:
        print_json(found)
    else:
        show(found, user, recalled)


def finder(settings: Settings, note_id: str) -> Callable[[Topic], Sequence[Message]]:
    """Scans a topic for records with the note's id as key or in the value, whatever a producer used as key."""
    key = note_id.encode()
    quoted = {json.dumps(note_id).encode(), json.dumps(note_id, ensure_ascii=False).encode()}

    def concerns(message: Message) -> bool:
        value = message.value() or b""
        return message.key() == key or any(one in value for one in quoted)

    def find_in(topic: Topic) -> Sequence[Message]:
        from streams.scan import find

        name = topic.within(settings.namespace).name
        answer = find(settings, name, note_id, matches=concerns)
        if not answer.complete:
            click.echo(f"{name}: only the newest {answer.scanned:,} records were looked through", err=True)
        return answer.messages

    return find_in


def show(found: "Inspected", user: str | None, recalled: bool) -> None:
    """For a person."""
    from rich.table import Table
    from rich.text import Text

    from recall.views import shown

    out = console()
    head = Text(shown(found.note_id), style="bold")
    head.append(f": {found.state.replace('_', ' ')}", style="green" if found.state == "recallable" else "yellow")
    head.append(f"  {found.category or 'no category'}" + (f", bundle {found.bundle}" if found.bundle else ""), style="dim")
    out.print(head)
    if found.stages:
        out.print(_stages(found.stages))
    table = Table(box=None, pad_edge=False, show_header=False)
    for tag in sorted(found.tags, key=lambda tag: tag.rank):
        table.add_row(
            Text(shown(tag.dimension), style="cyan"), Text(shown(tag.text), style="bold"), f"{tag.confidence:.2f}", _evidence(tag)
        )
    if found.tags:
        out.print(table)
    for lack in found.degraded:
        out.print(Text.assemble(("tagged without ", "yellow"), shown(lack)))
    for why in found.why_not:
        out.print(Text.assemble(("not recalled: ", "red"), (why.reason.replace("_", " "), "bold"), f": {shown(why.detail)}"))
    if recalled and user is not None:
        out.print(Text.assemble((shown(user), "bold"), " gets this note."))


def _stages(stages: dict[str, int]) -> "Text":
    """``published 2026-01-01 12:00:00 UTC, tagged +0.2 s, ...`` in order of time."""
    from datetime import UTC, datetime

    from rich.text import Text

    ordered = sorted(stages.items(), key=lambda item: (item[1], item[0]))
    start = ordered[0][1]
    first = datetime.fromtimestamp(start / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [f"{ordered[0][0]} {first}", *(f"{name} +{(at - start) / 1000:.3f} s" for name, at in ordered[1:])]
    return Text(", ".join(parts), style="dim")


def _evidence(tag: Tag) -> "Text":
    from rich.text import Text

    return Text(", ".join(f"{one.source} {one.position}" for one in tag.evidence[:3]), style="dim")
