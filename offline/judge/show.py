"""Judgements as tables in the terminal, the paper's rows beside them where asked for."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from offline.judge.ablate import Condition
from offline.judge.attributes import AttributeMeans, ModelAttributes
from offline.judge.pairwise import ModelPairwise
from offline.judge.paper import CATEGORIES, paper_rows

SHOWN = 6  # categories beside the total


def show_attributes(models: Mapping[str, ModelAttributes], *, beside_paper: bool) -> None:
    """Scores by model, and total by category."""
    figures = Table("model", "total", "truth", "coverage", "importance", "n", "invalid", "unanswered", box=None, header_style="bold")
    for name, one in models.items():
        figures.add_row(Text(name), *_means(one.all), f"{one.all.n:,}", f"{one.invalid:,}", f"{one.unanswered:,}")
    if beside_paper:
        for row in paper_rows():
            scores = (f"{value:.3f}" for value in (row.total, row.truth, row.coverage, row.importance))
            figures.add_row(Text(row.name), *scores, style="dim")
    columns = shown_categories(one.categories for one in models.values())
    split = Table("total by category", *columns, box=None, header_style="bold")
    for name, one in models.items():
        found = [one.categories.get(column) for column in columns]
        split.add_row(Text(name), *(number(of.total if of else None) for of in found))
    Console().print(figures, split, sep="\n")


def show_pairwise(models: Mapping[str, ModelPairwise], *, beside_paper: bool) -> None:
    """Scores and counts by model, score by category, and how far verdicts depend on order and length."""
    counted = Table("model", "pairwise score", "95 %", "MB", "B", "T", "W", "MW", "n", "invalid", box=None, header_style="bold")
    columns = shown_categories(one.categories for one in models.values())
    split = Table("score by category", *columns, box=None, header_style="bold")
    bias = Table(
        "verdicts and", "same in both orders", "same side", "gain by place", "rho with more tags", "points a tag", box=None,
        header_style="bold",
    )  # fmt: skip
    bands = Table("won, by tags against the reference", box=None, header_style="bold")
    for name, one in models.items():
        score = one.all
        counts = (score.MB, score.B, score.T, score.W, score.MW, score.n) if score else (0,) * 6
        between = "" if one.ps_ci95 is None else "{:+.3f} to {:+.3f}".format(*one.ps_ci95)
        figure = number(score.ps if score else None, "+.3f")
        counted.add_row(Text(name), figure, between, *(f"{count:,}" for count in counts), f"{one.invalid:,}")
        found = [one.categories.get(column) for column in columns]
        split.add_row(Text(name), *(number(of.ps if of else None, "+.3f") for of in found))
        tags = one.length.tags if one.length else None
        follows = [(tags.spearman, tags.spearman_ci95), (tags.slope, tags.slope_ci95)] if tags else [(None, None)] * 2
        shares = (number(one.agree, ".1%"), number(one.agree_side, ".1%"), number(one.place, "+.3f"))
        bias.add_row(Text(name), *shares, *(_between(*of) for of in follows))
        if one.length:
            if not bands.row_count:
                for band in one.length.bands:
                    bands.add_column(band.name)
            bands.add_row(Text(name), *(f"{number(band.win, '.0%')} of {band.n:,}" for band in one.length.bands))
    if beside_paper:
        for row in paper_rows():
            levels = (f"{count:,}" for count in (row.MB, row.B, row.T, row.W, row.MW, row.MB + row.B + row.T + row.W + row.MW))
            counted.add_row(Text(row.name), f"{row.ps:+.3f}", "", *levels, style="dim")
            split.add_row(Text(row.name), *(number(row.categories.get(column), "+.3f") for column in columns), style="dim")
    Console().print(counted, split, bias, bands, sep="\n")


def shown_categories(found: Iterable[Iterable[str]]) -> list[str]:
    """The paper's five as far as they are there, then others in order of their names, ``SHOWN`` at most."""
    there = {name for names in found for name in names}
    return [*(name for name in CATEGORIES if name in there), *sorted(there - set(CATEGORIES))][:SHOWN]


def number(value: float | None, form: str = ".3f") -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def _means(of: AttributeMeans) -> Sequence[str]:
    return [number(value) for value in (of.total, of.truth, of.coverage, of.importance)]


def _between(value: float | None, interval: tuple[float, float] | None) -> str:
    return "-" if value is None or interval is None else "{:+.2f} [{:+.2f}, {:+.2f}]".format(value, *interval)


def show_ablation(conditions: Mapping[str, Condition]) -> None:
    """Scores of each condition and what is lost, over all notes and over those that have the modality."""
    table = Table(
        "", "pairwise score", "loss", "loss where held", "notes", "total", "truth", "coverage", "importance", box=None, header_style="bold"
    )
    columns = shown_categories(one.pairwise.categories for one in conditions.values())
    split = Table("score by category", *columns, box=None, header_style="bold")
    for name, one in conditions.items():
        losses = [
            "" if loss is None else "{:.3f} [{:.3f}, {:.3f}]".format(loss.points, *loss.ci95) for loss in (one.loss, one.loss_where_held)
        ]
        held = f"{one.loss_where_held.notes:,}" if one.loss_where_held else ""
        figure = number(one.pairwise.all.ps if one.pairwise.all else None, "+.3f")
        table.add_row(Text(name), figure, *losses, held, *_means(one.attributes.all))
        found = [one.pairwise.categories.get(column) for column in columns]
        split.add_row(Text(name), *(number(of.ps if of else None, "+.3f") for of in found))
    Console().print(table, split, sep="\n")
