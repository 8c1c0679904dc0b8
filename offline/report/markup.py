"""Pieces of HTML. Whatever comes from notes, models or judges goes through ``text``."""

import html
from collections.abc import Iterable, Sequence

LEVELS = ("MB", "B", "T", "W", "MW")
LEVEL_NAMES = ("much better", "better", "as good", "worse", "much worse")


def text(value: object) -> str:
    """Anything as text, for content and for attributes."""
    return html.escape(str(value), quote=True)


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """``head`` is plain text; each row is a class and its cells, which are HTML; the first cell is a name."""
    columns = "".join(f"<th>{text(name)}</th>" for name in head)
    lines = []
    for kind, (first, *cells) in rows:
        lines.append(f'<tr class="{text(kind)}"><td class="name">{first}</td>{"".join(cells)}</tr>')
    return f"<table><thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def cell(value: float | None, form: str = ".3f") -> str:
    """A figure, a dash where there is none."""
    return f"<td>{'–' if value is None else text(format(value, form))}</td>"


def heat(value: float | None, form: str = "+.3f", reach: float = 2.0) -> str:
    """A figure on a ground that is greener the better and redder the worse it is, full at ``reach``."""
    if value is None:
        return cell(None)
    strength = min(abs(value) / reach, 1.0) * 0.75
    ground = f"rgba(31,122,92,{strength:.2f})" if value > 0 else f"rgba(184,67,47,{strength:.2f})"
    ink = ";color:#fff" if strength > 0.5 else ""
    return f'<td style="background:{ground}{ink}">{text(format(value, form))}</td>'


def meter(value: float | None) -> str:
    """A share in [0, 1] as a bar with its figure."""
    if value is None:
        return cell(None)
    return f'<td><span class="meter"><i style="width:{100 * min(max(value, 0.0), 1.0):.1f}%"></i></span>{value:.3f}</td>'


def verdict_bar(counts: Sequence[int]) -> str:
    """The five levels as one bar, from much better to much worse."""
    total = max(sum(counts), 1)
    parts = [
        f'<i class="{level}" style="width:{100 * count / total:.2f}%" title="{name}: {count:,}"></i>'
        for level, name, count in zip(LEVELS, LEVEL_NAMES, counts, strict=True)
    ]
    return f'<td><div class="bar">{"".join(parts)}</div></td>'


def legend() -> str:
    """Of ``verdict_bar``."""
    parts = [f'<span><i class="{level}"></i>{name} than the reference</span>' for level, name in zip(LEVELS, LEVEL_NAMES, strict=True)]
    return f'<div class="legend">{"".join(parts).replace("as good than", "as good as")}</div>'


def level_of(points: float) -> str:
    """The level nearest to a mean of points in [-2, 2]."""
    return LEVELS[2 - max(-2, min(2, round(points)))]


def between(interval: tuple[float, float] | None) -> str:
    """A 95 % interval in small print."""
    return "<td></td>" if interval is None else '<td class="ci">{:+.3f} to {:+.3f}</td>'.format(*interval)


def section(title: str, said: str, *parts: str) -> str:
    """A heading, a sentence, and panels."""
    return f'<h2>{text(title)}</h2><p class="said">{text(said)}</p>{"".join(parts)}'


def panel(*parts: str) -> str:
    """A white box."""
    return f'<div class="panel">{"".join(parts)}</div>'
