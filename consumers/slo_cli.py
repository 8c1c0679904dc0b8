"""``tagstream slo``."""

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from recall.cli import DATA, JSON, TIME_MAX_MS, Age, console, print_json
from schemas.settings import load

if TYPE_CHECKING:
    from rich.table import Table

    from consumers.slo import Percentiles, Slo

MEANING = {
    "received": "the tagger's batch begins",
    "tagged": "tags published",
    "indexed": "Milvus has the vectors",
    "recallable": "a search finds it",
}


class Since(click.ParamType):
    """A moment: epoch milliseconds, or how long ago (``10m``, ``24h``, ``all``), as milliseconds before now, negative."""

    name = "moment"
    ALL = -TIME_MAX_MS

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value.isascii() and value.isdigit():
            if int(value) > TIME_MAX_MS:
                self.fail(f"{value} is later than epoch milliseconds go ({TIME_MAX_MS})", param, ctx)
            return int(value)
        age = Age().convert(value, param, ctx)
        return self.ALL if age == Age.ALL else -age


@click.command(epilog="Example: tagstream slo --since 10m --check")
@click.option("--since", type=Since(), default="24h", show_default=True, help="From when on: 10m, 24h, 7d, all or epoch milliseconds.")
@click.option("--check", is_flag=True, help="Exit status 1 when an objective is missed, or the newest canary was not found in time.")
@JSON
@DATA
def slo(since: int, check: bool, as_json: bool, data: str | None) -> None:
    """Show how long notes take from publishing to recallable, by stage, and how the canaries did.

    Objectives are TAGSTREAM_SLO_P50_MS and TAGSTREAM_SLO_P99_MS. Notes that were old when the tagger received them (replays, backlogs) are
    counted apart. What no job has taken yet is not in the stores: the canary tells of that (`tagstream canary`).
    """
    from consumers.slo import measure_live

    settings = load(data=data)
    now = time.time_ns() // 1_000_000
    found = measure_live(settings, since if since >= 0 else max(0, now + since), now)
    if as_json:
        print_json(found)
    else:
        show(console(), found, now)
    if check and (why := misses(found)):
        click.echo(f"tagstream: {'; '.join(why)}", err=True)
        sys.exit(1)


def misses(found: "Slo") -> list[str]:
    """What an operator must be told; empty when all is well."""
    reached = found.stages["recallable"]
    why = [
        f"publish to recallable {name} is {reached[name]:,.0f} ms, above TAGSTREAM_SLO_{name.upper()}_MS={bound:g}"
        for name, bound in found.objective_ms.items()
        if reached.get(name, 0.0) > bound
    ]
    alarms = found.canary.alarms
    if alarms and alarms[0].at == found.canary.last_at:
        why.append(f"the newest canary was {alarms[0].outcome}: {alarms[0].detail}")
    return why


def show(out: Any, found: "Slo", now: int) -> None:
    """For a person."""
    from rich.text import Text

    from consumers.slo import line
    from recall.views import shown

    out.print(stage_table(found))
    for count, what in (
        (found.missing.not_recallable_yet, "not recallable yet"),
        (found.missing.no_tags, "without tags, so without a vector"),
        (found.missing.not_stamped, "recallable, since when is not known"),
    ):
        if count:
            out.print(Text(f"{count} of {found.notes} notes: {what}", style="yellow"))
    if found.cut:
        out.print(Text(f"only the newest {found.notes + found.backfilled:,} notes are looked at", style="dim"))
    for degraded in found.degraded:
        out.print(Text(shown(degraded), style="yellow"))
    out.print(Text(line(found), style="bold green" if found.met else "bold red"))
    canary = found.canary
    if canary.last_at is None:
        out.print(Text("canary: none ran; start `tagstream canary`", style="dim"))
        return
    spread = "" if canary.p50 is None else f", found after p50 {canary.p50:,.0f} ms, p99 {canary.p99:,.0f} ms"
    bad = canary.late or canary.skipped
    ago = (now - canary.last_at) / 1000
    text = f"canary: {canary.found} found, {canary.late} late, {canary.skipped} skipped{spread}; the last one {ago:,.0f} s ago"
    out.print(Text(text, style="yellow" if bad else ""))
    for alarm in canary.alarms:
        out.print(Text(f"  {moment(alarm.at)} {alarm.outcome} {shown(alarm.note_id)} {shown(alarm.detail)}", style="red"))


def stage_table(found: "Slo") -> "Table":
    """Per stage the time since publishing, and the step from the stage before."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("stage", "p50 ms", "p95", "p99"):
        table.add_column(title, justify="left" if title == "stage" else "right")
    for title in ("step p50", "p95", "p99"):
        table.add_column(title, justify="right", style="dim")
    table.add_column("")
    for (stage, reached), taken in zip(found.stages.items(), found.steps.values(), strict=True):
        style = "bold" if stage == "recallable" else ""
        table.add_row(Text(stage, style=style), *_cells(reached), *_cells(taken), Text(MEANING[stage], style="dim"))
    return table


def _cells(values: "Percentiles") -> list[str]:
    return [f"{values[name]:,.0f}" if name in values else "-" for name in ("p50", "p95", "p99")]


def moment(at: int) -> str:
    """``2026-01-01 12:00:00 UTC``."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
