"""``tagstream metrics``: what cold-start recall earns, by channel, experiment arm or category, and how the tags drift."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from schemas.settings import load

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    from streams.intervals import Interval
    from streams.metric_report import By, Report, Window
    from streams.tag_drift import Drift

WATCH_S = 1.0
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WINDOWS = 24
WIDE = 120
HOUR_MS = 3_600_000


@click.command()
@click.option("--by", type=click.Choice(["channel", "arm", "category"]), default="channel", show_default=True, help="What rows stand for.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=24.0, show_default=True, help="How much the table adds up.")
@click.option("--watch", is_flag=True, help="Keep the table on the screen and update it every second, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, each window apart.")
@click.option("--data", type=click.Path(file_okay=False), help="Directory of the local stack.")
def metrics(by: "By", hours: float, watch: bool, as_json: bool, data: str | None) -> None:
    """Show impressions, clicks and interactions of fresh notes, readers' time by experiment arm, and drift of tag quality.

    The figures are those of `tagstream consume metrics`, in event time. PVCTR is clicks, PVIR likes, favorites, comments and shares per
    impression, of notes under 24 h at the time; AVDU and AIU are milliseconds viewed and interactions per reader and day, of all notes.

    Example: tagstream metrics --by arm --watch
    """
    if watch and as_json:
        raise click.UsageError("--watch shows a table; leave out --watch or --json")
    from rich.console import Console

    from consumers.metrics_job import read_report
    from recall.redis_client import redis_client

    settings = load(data=data)
    client = redis_client(settings)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(read_report(settings, client, by)))
        return
    if not watch:
        show(Console(), read_report(settings, client, by), hours)
        return
    from rich.live import Live

    from streams.jobs import Stop, stop_on_signals

    with stop_on_signals(Stop()) as stop, Live(auto_refresh=False) as live:
        while not stop.requested:
            live.update(screen(read_report(settings, client, by), hours, live.console.width), refresh=True)
            time.sleep(WATCH_S)


def show(console: "Console", found: "Report", hours: float = 24.0) -> None:
    """For a person, once."""
    console.print(screen(found, hours, console.width))


def screen(found: "Report", hours: float, width: int = 80) -> "Group":
    """All tables, one below the other; the bars by window where there is room for them."""
    from rich.console import Group
    from rich.text import Text

    if found.as_of is None:
        return Group(Text("nothing was counted yet; run `tagstream consume metrics`", style="yellow"))
    until = datetime.fromtimestamp(found.as_of / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = Text.assemble(("fresh notes", "bold"), (f", {hours:g} h up to {until}", "dim"))
    left_out = Text(f"late {found.late:,}, duplicates {found.duplicates:,}, note unknown {found.unknown_note:,}", style="dim")
    return Group(head, _window_table(found, hours, width >= WIDE), _arm_table(found), _drift_line(found.drift), left_out)


def _window_table(found: "Report", hours: float, wide: bool) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from recall.views import shown
    from streams.metric_report import together

    assert found.as_of is not None
    (by,) = found.windows[0].by if found.windows else ("label",)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(by)
    for name in ("impr.", "clicks", "likes", "favs", "PVCTR [95 %]", "PVIR [95 %]"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("PVCTR by window", no_wrap=True)
    for row in together(found.windows, found.as_of - int(hours * HOUR_MS)):
        label = row.by[by]
        table.add_row(
            Text(shown(label) if label else "-", style="magenta"),
            *(f"{count:,}" for count in (row.impressions, row.clicks, row.likes, row.favorites)),
            _rate(row.pvctr, row.pvctr_ci95),
            _rate(row.pvir, row.pvir_ci95),
            *([Text(sparks([window for window in found.windows if window.by[by] == label]), style="cyan")] if wide else []),
        )
    return table


def _arm_table(found: "Report") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from recall.views import shown

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("arm")
    table.add_column("day")
    for name in ("readers", "AVDU s [95 %]", "AIU [95 %]"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in found.arms:
        seconds = (arm.avdu_ci95[0] / 1000, arm.avdu_ci95[1] / 1000) if arm.avdu_ci95 else None
        table.add_row(
            Text(shown(arm.arm) if arm.arm else "-", style="magenta"),
            arm.day,
            f"{arm.users:,}",
            _rate(arm.avdu_ms / 1000, seconds, ".1f"),
            _rate(arm.aiu, arm.aiu_ci95, ".2f"),
        )
    return table


def _drift_line(drift: "Drift") -> "Text":
    from rich.text import Text

    if drift.origin is None:
        return Text("tag quality: no tagged note of the live bundle yet", style="dim")
    origin = "the given reference" if drift.origin == "given" else "its own first notes, as no reference is given"
    line = Text(f"tag quality of bundle {drift.bundle} against {drift.reference_notes:,} notes, {origin}: ")
    if not drift.windows:
        return line.append("no note since", style="dim")
    newest = drift.windows[-1]
    for name, measure in newest.measures.items():
        text = f"{name.replace('_', ' ')} {measure.now:.2f} (was {measure.reference:.2f}, index {measure.psi:.2f})  "
        line.append(text, style="bold red" if measure.alert else "green")
    return line.append(f"{newest.notes:,} notes" + ("" if drift.alerts else ", no alert"), style="dim")


def sparks(windows: "list[Window]") -> str:
    """PVCTR of the newest windows as a row of bars, scaled to the highest."""
    rates = [window.pvctr or 0.0 for window in windows[-SPARK_WINDOWS:]]
    top = max(rates, default=0.0)
    return "".join(SPARKS[min(7, int(rate / top * 8))] if top else SPARKS[0] for rate in rates)


def _rate(rate: float | None, interval: "Interval | None", form: str = ".3f") -> "Text":
    """``.312 [.250, .381]``."""
    from rich.text import Text

    if rate is None:
        return Text("-")
    text = Text(_short(rate, form), style="bold green")
    return text.append(f" [{_short(interval[0], form)}, {_short(interval[1], form)}]" if interval else "", style="not bold dim")


def _short(value: float, form: str) -> str:
    text = f"{value:{form}}"
    return text.removeprefix("0") if form == ".3f" and value < 1 else text
