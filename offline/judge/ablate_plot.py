"""Draws an ablation: for each category a bar with all modalities and one without each."""

from collections.abc import Mapping
from pathlib import Path

from offline.judge.ablate import Condition
from offline.judge.show import shown_categories

COLOURS = ("#3b4a5a", "#c8553d", "#4878a8", "#d9a441", "#6a9c6a")


def draw(conditions: Mapping[str, Condition], title: str, path: Path) -> None:
    """Writes pairwise scores by category to a .png or .svg file, the total first with its 95 % intervals."""
    from matplotlib.figure import Figure

    columns = shown_categories(one.pairwise.categories for one in conditions.values())
    groups = ["total", *columns]
    figure = Figure(figsize=(1.3 * len(groups) + 2.2, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(conditions)
    for number, (name, one) in enumerate(conditions.items()):
        scores = [one.pairwise.all, *(one.pairwise.categories.get(column) for column in columns)]
        places = [group + (number - (len(conditions) - 1) / 2) * width for group in range(len(groups))]
        heights = [score.ps if score else 0.0 for score in scores]
        axes.bar(places, heights, width, label=name, color=COLOURS[number % len(COLOURS)])
        if one.pairwise.ps_ci95 is not None:
            low, high = one.pairwise.ps_ci95
            around = [[max(heights[0] - low, 0.0)], [max(high - heights[0], 0.0)]]
            axes.errorbar(places[:1], heights[:1], around, fmt="none", ecolor="#222222", capsize=2, linewidth=1)
    axes.axhline(0, color="#222222", linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("pairwise score")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(conditions), fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    figure.savefig(path)
