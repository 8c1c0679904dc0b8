"""What ``evaluate-recall`` says of its figures: intervals, the spread over seeds, a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from offline.recall_metrics import RESAMPLES, summarise


def read_seeds(text: str) -> tuple[int, ...]:
    """``3`` is 0, 1, 2; ``0,4`` and ``4,`` are those."""
    parts = [part.strip() for part in text.split(",")]
    given = tuple(int(part) for part in parts if part.isdecimal())
    if len(parts) == 1 and given and given[0]:
        return tuple(range(given[0]))
    if len(parts) == 1 or len(given) != len([part for part in parts if part]) or not given or len(set(given)) < len(given):
        raise click.BadParameter(f"{text!r}: give how many, such as 3, or different seeds, such as 0,1,2", param_hint="--seeds")
    return given


def summary_of(runs: list[NDArray[np.float64]], reader: NDArray[np.int64], k: int) -> dict[str, Any]:
    """Figures of the mean over seeds; with several also each seed's recall and their standard deviation."""
    summary = summarise(np.mean(runs, axis=0), reader, k)
    if len(runs) > 1:
        each = [round(float(run[:, 0].mean()), 4) for run in runs]
        summary |= {f"recall@{k}_by_seed": each, f"recall@{k}_spread": round(float(np.std(each)), 4)}
    return summary


def over_best(
    merge: NDArray[np.float64], heuristics: Mapping[str, NDArray[np.float64]], reader: NDArray[np.int64], seed: int = 0
) -> dict[str, Any]:
    """How many times the recall of the best heuristic the merge reaches, on the same queries, with the 95 % interval of the ratio; whole
    readers are drawn, so queries of one reader stay together, and of each draw both recalls are taken.

    Args:
        merge: recall of each query, shape (queries,).
        heuristics: the same by method, at least one.
        reader: shape (queries,).
    """
    name = max(heuristics, key=lambda one: float(heuristics[one].mean()))
    _, group = np.unique(reader, return_inverse=True)
    readers = int(group.max()) + 1
    ours, theirs = (np.bincount(group, recall) for recall in (merge, heuristics[name]))
    draws = np.random.default_rng(seed).multinomial(readers, np.full(readers, 1 / readers), RESAMPLES)
    low, high = np.quantile((draws @ ours) / np.maximum(draws @ theirs, 1e-12), [0.025, 0.975])
    ratio = merge.mean() / max(float(heuristics[name].mean()), 1e-12)
    return {"heuristic": name, "ratio": round(float(ratio), 3), "ratio_ci95": [round(float(low), 3), round(float(high), 3)]}


def show(report: Mapping[str, Any], k: int) -> None:
    """The figures as a table."""
    title = (
        f"{report['dataset']}, {report['protocol']}: {report['queries']} queries, {report['cold_items']} cold notes, {report['tags']} tags"
    )
    columns: Sequence[str] = ("method", f"recall@{k}", "95 %", f"ndcg@{k}", f"hit@{k}", "by seed")
    table = Table(*columns, title=title, box=None, header_style="bold")
    for name, row in report["methods"].items():
        low, high = row[f"recall@{k}_ci95"]
        each = ", ".join(f"{one:.3f}" for one in row.get(f"recall@{k}_by_seed", ()))
        shown = (row[f"recall@{k}"], row[f"ndcg@{k}"], row[f"hit@{k}"])
        recall, *others = (f"{one:.3f}" for one in shown)
        table.add_row(name, recall, f"{low:.3f} to {high:.3f}", *others, each)
    Console().print(table)
    if over := report.get("merge_over_best_heuristic"):
        low, high = over["ratio_ci95"]
        Console().print(f"merge: {over['ratio']:.3f} [{low:.3f}, {high:.3f}] times {over['heuristic']} on the same queries")
