"""``tagstream consume``: one job runs in this process, several each in a process of their own."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import IO, TYPE_CHECKING, Any

import click

from consumers.build import JOBS, open_engine
from schemas.settings import load
from streams.engine import Engine
from streams.jobs import Stop, stop_on_signals

if TYPE_CHECKING:
    from consumers.metrics_job import MetricsJob

METRICS = "metrics"
FEEDER = {"index-notes": "tag-notes"}
"""Who produces what a job reads, by job."""
PROGRESS_S = 5.0


@click.command()
@click.argument("jobs", nargs=-1, required=True, type=click.Choice([*JOBS, METRICS, "all"]), metavar="JOB...")
@click.option("--until-idle", type=click.FloatRange(min=0), metavar="S", help="End when all is read and nothing came for S seconds.")
@click.option("--fed", is_flag=True, hidden=True, help="Begin to be idle when stdin ends.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout: counts by job.")
@click.option("--verbose", "-v", is_flag=True, help="Log what the job does, not only warnings.")
def consume(jobs: tuple[str, ...], until_idle: float | None, fed: bool, as_json: bool, verbose: bool) -> None:
    """Run consumers until SIGTERM or, with --until-idle, until all is read.

    JOB is tag-notes, index-notes, update-profiles or all of these, or metrics; of several each runs in its own process. Start a job more
    than once, on any machine, to spread its partitions. With --until-idle index-notes waits for a tag-notes that was started beside it.

    Example: tagstream consume all --until-idle 5
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    chosen = list(JOBS) if "all" in jobs else list(dict.fromkeys(jobs))
    counts = {chosen[0]: _run(chosen[0], until_idle, fed)} if len(chosen) == 1 else _run_each(chosen, until_idle, verbose)
    if as_json:
        click.echo(json.dumps(counts))
    else:
        _show(counts)
    if set(counts) != set(chosen):
        click.echo(f"tagstream: ended early: {', '.join(job for job in chosen if job not in counts)}; see its message above", err=True)
        sys.exit(1)


def _run(job: str, until_idle: float | None, fed: bool) -> dict[str, int]:
    with stop_on_signals(Stop()) as stop, _open(job) as engine:
        click.echo(f"{job}: running", err=True)
        over = threading.Event()
        threading.Thread(target=_report, args=(job, engine, over), daemon=True).start()
        try:
            if isinstance(engine, Engine) and fed:
                return engine.run(stop, until_idle, _while_stdin_is_open()).to_dict()
            return engine.run(stop, until_idle).to_dict()
        finally:
            over.set()


def _while_stdin_is_open() -> Callable[[], bool]:
    """Whether the process that started this one holds the other end of its stdin open; that ends with it, however it ends."""

    def read() -> None:
        while os.read(0, 1024):  # not by sys.stdin, whose lock a process that ends meanwhile would wait for
            pass

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    return reading.is_alive


def _open(job: str) -> AbstractContextManager["Engine[Any] | MetricsJob"]:
    if job != METRICS:
        return open_engine(job, load())
    from consumers.metrics_job import open_metrics

    return open_metrics(load())


def _report(job: str, engine: "Engine[Any] | MetricsJob", over: threading.Event) -> None:
    """A line on stderr every few seconds in which something was done."""
    before = 0
    while not over.wait(PROGRESS_S):
        counts = engine.counts
        done = counts.handled + counts.dead_lettered
        if done > before:
            lost = f", {counts.dead_lettered:,} dead-lettered" if counts.dead_lettered else ""
            click.echo(f"{job}: {done:,} events, {(done - before) / PROGRESS_S:,.0f}/s{lost}", err=True)
        before = done


def _run_each(jobs: list[str], until_idle: float | None, verbose: bool) -> dict[str, dict[str, int]]:
    """Runs the jobs side by side. When one ends with an error the others are stopped: a supervisor starts all of them anew."""
    options = ["--json", *(["--until-idle", str(until_idle)] if until_idle is not None else []), *(["-v"] if verbose else [])]
    running = {job: _start(job, options, fed=FEEDER.get(job) in jobs) for job in jobs}

    def stop(*_: Any) -> None:
        for process in running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        counts: dict[str, dict[str, int]] = {}
        waiting = dict(running)
        while waiting:
            for job, process in list(waiting.items()):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                    del waiting[job]
                    _end_feeding(job, running)
                    if process.returncode == 0:
                        counts |= json.loads(_out(process).read())
                    else:
                        stop()
        return counts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(job: str, options: list[str], *, fed: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tagstream", "consume", job, *options, *(["--fed"] if fed else [])]
    return subprocess.Popen(command, stdin=subprocess.PIPE if fed else None, stdout=subprocess.PIPE, text=True)


def _end_feeding(ended: str, running: dict[str, subprocess.Popen[str]]) -> None:
    """Lets those that the ended job fed know."""
    for job, process in running.items():
        if FEEDER.get(job) == ended and process.stdin is not None:
            process.stdin.close()


def _out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def _show(counts: dict[str, dict[str, int]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("job", "handled", "dead-lettered", "applied before", "stale", box=None, header_style="bold")
    for job, of in counts.items():
        table.add_row(job, *(f"{of[name]:,}" for name in ("handled", "dead_lettered", "skipped_as_applied", "stale")))
    Console().print(table)
