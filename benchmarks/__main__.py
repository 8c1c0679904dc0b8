"""``python -m benchmarks [NAME...]``: runs benchmarks in fresh processes and records the figures beside this file."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.report import Measured, Result, Row, describe_machine, read_results, show_spread, sum_up, write_results

BENCHMARKS = (
    "interactions_to_profiles",
    "publish_to_recallable",
    "rollout",
    "index_upserts",
    "tag_encoder",
    "handbook_tagger",
    "metrics_job",
    "memory",
    "recall_latency",
    "tower_training",
    "frames",
    "transcriber",
)
SPACED = ("publish_to_recallable", "index_upserts")
"""Those that write vectors of every space of a bundle."""
WITH_SPACES = " with learned spaces"
_CHILD = (
    "import importlib, msgspec, pathlib, sys\n"
    "rows = importlib.import_module(f'benchmarks.{sys.argv[1]}').run()\n"
    "pathlib.Path(sys.argv[2]).write_bytes(msgspec.json.encode(rows))\n"
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(min=1), help="Fresh processes per benchmark.")
@click.option(
    "--results",
    "directory",
    default=Path(__file__).parent,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the figures are kept.",
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Directory of a bundle with learned spaces, for {' and '.join(SPACED)}; these figures are kept beside those without.",
)
def main(names: tuple[str, ...], repeats: int, directory: Path, bundle: Path | None) -> None:
    """Times TagStream against its peers and limits; names choose among the benchmarks, only their figures are replaced.

    Example: python -m benchmarks tag_encoder --repeats 5
    """
    console = Console(stderr=True)
    known = BENCHMARKS if bundle is None else SPACED
    for name in names:
        if name not in known:
            raise click.UsageError(f"{name} is no benchmark{' of spaces' if bundle else ''}; there are: {', '.join(known)}")
    if bundle is not None:
        os.environ["TAGSTREAM_BUNDLE"] = str(bundle.absolute())
    failed: list[str] = []
    for name in names or known:
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            console.print(f"{name}: benchmarks/{name}.py is missing; its figures stay as they are")
            failed.append(name)
            continue
        runs = _measure(name, repeats, console)
        if runs is None:
            failed.append(name)
            continue
        results = sum_up(runs)
        key = name if bundle is None else name + WITH_SPACES
        _record(directory, key, results)
        console.print(_table(key, results))
    if failed:
        console.print(f"not measured: {', '.join(failed)}")
        sys.exit(1)


def _measure(name: str, repeats: int, console: Console) -> list[list[Row]] | None:
    """The rows of each run, or None when a run failed; what a benchmark prints goes to stderr."""
    runs: list[list[Row]] = []
    with tempfile.TemporaryDirectory(prefix="tagstream-bench-") as scratch:
        for number in range(1, repeats + 1):
            console.print(f"{name}: run {number} of {repeats}")
            answer = Path(scratch, f"{number}.json")
            finished = subprocess.run([sys.executable, "-c", _CHILD, name, str(answer)], stdout=sys.stderr, check=False)
            if finished.returncode != 0:
                console.print(f"{name}: run {number} ended with status {finished.returncode}; its figures stay as they are")
                return None
            runs.append(msgspec.json.decode(answer.read_bytes(), type=list[Row]))
    return runs


def _record(directory: Path, name: str, results: list[Result]) -> None:
    """Replaces one benchmark's figures, keeping the others and the order of ``BENCHMARKS``."""
    measured = read_results(directory / "results.json")
    measured[name] = Measured(describe_machine(), results)
    directory.mkdir(parents=True, exist_ok=True)
    keys = [key for benchmark in BENCHMARKS for key in (benchmark, benchmark + WITH_SPACES)]
    write_results(directory, {key: measured[key] for key in keys if key in measured})


def _table(name: str, results: list[Result]) -> Table:
    table = Table("what", "ours", "peer", "ratio", "target", title=name)
    for result in results:
        table.add_row(
            result.what,
            f"{show_spread(result.ours)} {result.unit}",
            f"{result.peer_name} {show_spread(result.peer)}",
            show_spread(result.ratio),
            result.target,
        )
    return table


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
