"""Dead letters and what became of them, for people and as JSON."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import click
from msgspec import Struct

from recall.cli import console
from recall.views import shown
from streams.dead_letter_log import DeadLetters, Letter
from streams.dead_letters import Coordinates
from streams.redrive import Asked, Redriven, plan
from streams.redrive_outcome import Followed

ROWS = 50
WIDTH = 200
VALUE_SHOWN = 4_000
DONE = ("redriven", "possible", "handled")
"""Outcomes of which nothing more need be said: exit status 0."""
COLORS = {"handled": "green", "redriven": "green", "possible": "cyan", "failed_again": "red", "refused": "red"}
STATE_COLORS = {"open": "yellow", "redriving": "yellow", "redriven": "green", "failed_again": "red", "dropped": "dim"}


class Told(Struct, frozen=True):
    """What a redrive says of one letter. ``failed_as``: the dead letters that it became."""

    letter: Letter
    outcome: Literal["redriven", "refused", "possible", "handled", "waiting", "failed_again", "not_read"]
    to: Coordinates | None
    detail: str
    failed_as: list[Letter]


def plan_of(log: DeadLetters, letters: Sequence[Letter], asked: Asked) -> list[Told]:
    """What a redrive would do."""
    return [told_of(one) for one in plan(log, letters, asked)]


def told_of(one: Redriven, followed: Followed | None = None, *, waits: bool = False) -> Told:
    """``waits``: its action waits for the note's tags again."""
    if followed is None:
        return Told(one.letter, one.outcome, one.to, one.detail, [])
    if waits:
        return Told(one.letter, "waiting", one.to, "the note still has no tags; it counts once they are there, or is given up again", [])
    detail = one.detail
    if followed.outcome == "failed_again":
        failure = followed.failed_as[0].content.failure
        detail = f"{failure.reason}: {' '.join(filter(None, (failure.field, failure.detail)))}"
    elif followed.outcome == "not_read":
        detail = f"the job {one.letter.job} has not read it yet; does `tagstream consume {one.letter.job}` run?"
    elif followed.outcome == "handled":
        detail = ""
    return Told(one.letter, followed.outcome, one.to, detail, followed.failed_as)


def counted(told: Sequence[Told]) -> dict[str, Any]:
    """The JSON document of a redrive."""
    letters = [
        {
            "id": one.letter.id.shown,
            "outcome": one.outcome,
            "to": one.to,
            "detail": one.detail,
            "failed_as": [letter_of(failed) for failed in one.failed_as],
        }
        for one in told
    ]
    return {"counts": dict(Counter(one.outcome for one in told)), "letters": letters}


def letter_of(letter: Letter) -> dict[str, Any]:
    """A dead letter without its value, for JSON."""
    content, failure, mark = letter.content, letter.content.failure, letter.mark
    return {
        "id": letter.id.shown,
        "state": letter.state,
        "reason": failure.reason,
        "detail": failure.detail,
        "field": failure.field,
        "stage": failure.stage,
        "attempts": content.attempts,
        "first_failed_at": content.first_failed_at,
        "last_failed_at": content.last_failed_at,
        "source": content.source,
        "timestamp": content.timestamp,
        "size": letter.size,
        "note_id": letter.ids.get("note_id"),
        "user_id": letter.ids.get("user_id"),
        "event_id": letter.ids.get("event_id"),
        "redrive_of": _shown_id(content.redrive_of),
        "failed_as": letter.failed_as,
        "mark": None
        if mark is None
        else {"state": mark.state, "at": mark.at, "corrected": mark.corrected, "why": mark.why, "to": _to(letter)},
    }


def whole(letter: Letter) -> dict[str, Any]:
    """Key, value and headers, for JSON: each as ``{"text"}`` where it is UTF-8, else as ``{"base64"}``."""
    content = letter.content
    headers = [{"name": name, "value": _bytes(value)} for name, value in content.headers]
    return {"key": _bytes(content.key), "value": _bytes(content.value), "headers": headers}


def show_list(letters: Sequence[Letter], counts: Mapping[str, int]) -> None:
    """For a person."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    table.add_column("id", no_wrap=True, min_width=max((len(letter.id.shown) for letter in letters[:ROWS]), default=0))
    for name in ("state", "reason", "stage", "of", "tries", "failed last", "detail"):
        table.add_column(name, no_wrap=True)
    for letter in letters[:ROWS]:
        content, failure = letter.content, letter.content.failure
        table.add_row(
            letter.id.shown,
            Text(letter.state.replace("_", " "), style=STATE_COLORS[letter.state]),
            failure.reason,
            failure.stage,
            shown(" ".join(letter.ids.get(name, "") for name in ("user_id", "note_id")).strip()),
            str(content.attempts),
            _moment(content.last_failed_at),
            Text(shown(" ".join(filter(None, (failure.field, failure.detail))))),
        )
    if letters:
        _print(table)
    if len(letters) > ROWS:
        click.echo(f"... and {len(letters) - ROWS} more; --limit, --match or --json")
    click.echo(", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items() if count) or "no dead letters")


def show_letter(letter: Letter) -> None:
    """For a person: everything; the value cut where it is long."""
    from rich.table import Table
    from rich.text import Text

    content, failure = letter.content, letter.content.failure
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = [
        ("state", letter.state.replace("_", " ") + (f", as {', '.join(letter.failed_as)}" if letter.failed_as else "")),
        ("reason", failure.reason),
        ("detail", " ".join(filter(None, (failure.field, failure.detail)))),
        ("given up by", failure.stage),
        ("event was", f"{content.source.topic}/{content.source.partition}/{content.source.offset}, {_moment(content.timestamp)}"),
        ("failed", f"{content.attempts} times, first {_moment(content.first_failed_at)}, last {_moment(content.last_failed_at)}"),
    ]
    if content.redrive_of:
        rows.append(("redriven from", _shown_id(content.redrive_of) or ""))
    if letter.mark is not None:
        to = _to(letter)
        place = f" to {to.topic}/{to.partition}/{to.offset}" if to is not None else ""
        told = f"{letter.mark.state} {_moment(letter.mark.at)}{place}{', value corrected' if letter.mark.corrected else ''}"
        rows.append(("mark", " ".join(filter(None, (told, letter.mark.why)))))
    rows.append(("key", "none" if content.key is None else _text(content.key)))
    rows += [("header", f"{name}: {'none' if value is None else _text(value)}") for name, value in content.headers]
    for name, said in rows:
        table.add_row(Text(name, style="dim"), Text(shown(said)))
    out = console()
    out.print(Text(letter.id.shown, style="bold"))
    out.print(table)
    if content.value is None:
        out.print(Text("no value", style="dim"))
        return
    out.print(Text(f"{len(content.value)} bytes:", style="dim"))
    out.print(Text(shown(_text(content.value[:VALUE_SHOWN]))))
    if len(content.value) > VALUE_SHOWN:
        out.print(Text("... cut; --raw writes all of it", style="dim"))


def show_told(told: Sequence[Told]) -> None:
    """For a person."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    table.add_column("id", no_wrap=True, min_width=max((len(one.letter.id.shown) for one in told[:ROWS]), default=0))
    for name in ("outcome", "sent to", "detail"):
        table.add_column(name, overflow="fold")
    for one in told[:ROWS]:
        place = f"{one.to.topic}/{one.to.partition}/{one.to.offset}" if one.to is not None else ""
        detail = one.detail + (f" (now {one.failed_as[0].id.shown})" if one.failed_as else "")
        outcome = Text(one.outcome.replace("_", " "), style=COLORS.get(one.outcome, "yellow"))
        table.add_row(one.letter.id.shown, outcome, place, Text(shown(detail)))
    if told:
        _print(table)
    if len(told) > ROWS:
        click.echo(f"... and {len(told) - ROWS} more; --json has them all")
    counts = Counter(one.outcome.replace("_", " ") for one in told)
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no dead letters are meant")


def _print(table: Any) -> None:
    """A table; into a pipe in full width."""
    from rich.console import Console

    out = console()
    (out if out.is_terminal else Console(highlight=False, width=WIDTH)).print(table)


def _to(letter: Letter) -> Coordinates | None:
    mark = letter.mark
    if mark is None or mark.to_topic is None or mark.to_partition is None or mark.to_offset is None:
        return None
    return Coordinates(mark.to_topic.rpartition("@")[0], mark.to_partition, mark.to_offset)


def _shown_id(full: str) -> str | None:
    """``topic@topic id/partition/offset`` as people type it; a topic's id may have slashes."""
    source, _, place = full.rpartition("/")
    source, _, partition = source.rpartition("/")
    return f"{source.partition('@')[0]}/{partition}/{place}" if full else None


def _bytes(value: bytes | None) -> dict[str, str] | None:
    if value is None:
        return None
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def _moment(at: int) -> str:
    """UTC, to the second."""
    try:
        return datetime.fromtimestamp(at / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S") if at >= 0 else "unknown"
    except (OverflowError, ValueError):
        return f"{at} ms"
