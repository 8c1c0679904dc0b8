"""Draws an evaluation: recall of each method with its interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(report: Mapping[str, Any], k: int, path: Path) -> None:
    """Writes a bar for each method of the report, in its order, to a .png or .svg file."""
    from matplotlib.figure import Figure

    methods = report["methods"]
    recalls = [row[f"recall@{k}"] for row in methods.values()]
    bounds = [row[f"recall@{k}_ci95"] for row in methods.values()]
    errors = [
        [max(recall - low, 0.0) for recall, (low, _) in zip(recalls, bounds, strict=True)],
        [max(high - recall, 0.0) for recall, (_, high) in zip(recalls, bounds, strict=True)],
    ]
    figure = Figure(figsize=(7, 0.4 * len(methods) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(methods), recalls, xerr=errors, color="#4878a8", error_kw={"ecolor": "#222222", "capsize": 3})
    axes.invert_yaxis()
    axes.set_xlabel(f"recall@{k}, 95 % interval; candidates: {report['candidates']}")
    axes.set_title(f"{report['dataset']}, {report['protocol']}, {report['cold_items']} cold notes")
    figure.savefig(path)
