"""The page: what models are worth, what the judge is worth, what modalities are worth, and notes to look at."""

import base64
from collections.abc import Sequence
from pathlib import Path
from string import Template

from offline.judge.ablate import Condition, Loss
from offline.judge.length_bias import Band
from offline.judge.pairwise import ModelPairwise
from offline.judge.paper import PaperRow, paper_rows
from offline.judge.show import shown_categories
from offline.report.curves import Points, curves_section
from offline.report.examples import Example, ShownAnswer
from offline.report.markup import between, cell, heat, legend, level_of, meter, panel, section, table, text, verdict_bar
from offline.report.runs import AblationReport, AttributesReport, Found, PairwiseReport, label

EMPTY = "<td></td>"
TEMPLATE = Path(__file__).with_name("page.html")


def page(title: str, found: Found, shown: Sequence[Example], trained: dict[Path, dict[str, Points]], *, beside_paper: bool) -> str:
    """The whole document; ``trained``: curves by run."""
    parts = [f"<h1>{text(title)}</h1>"]
    for directory, pairwise in found.pairwise.items():
        parts.append(pairwise_section(pairwise, label(directory), beside_paper))
    for directory, attributes in found.attributes.items():
        parts.append(attributes_section(attributes, label(directory), beside_paper))
    for directory, ablation in found.ablations.items():
        parts.append(ablation_section(ablation, directory))
    parts += [judge_section(pairwise, label(directory)) for directory, pairwise in found.pairwise.items()]
    if trained:
        parts.append(curves_section(trained))
    if shown:
        parts.append(examples_section(shown))
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(title=text(title), body="\n".join(parts))


def pairwise_section(report: PairwiseReport, where: str, beside_paper: bool) -> str:
    """Verdicts, scores, scores by category."""
    said = (
        f"Each of {report.samples:,} notes' tags against the reference ({report.reference}), judged in both orders by {report.judge}. The"
        " score is the mean of 2, 1, 0, -1, -2 points; 0 is as good as the reference."
    )
    columns = shown_categories(one.categories for one in report.models.values())
    rows, split = [], []
    for name, one in report.models.items():
        score = one.all
        counts = (score.MB, score.B, score.T, score.W, score.MW) if score else (0, 0, 0, 0, 0)
        figures = [heat(score.ps if score else None), between(one.ps_ci95), verdict_bar(counts), *(cell(count, ",") for count in counts)]
        rows.append(("", [text(name), *figures, cell(one.invalid, ",")]))
        categories = [one.categories.get(column) for column in columns]
        split.append(("", [text(name), *(heat(of.ps if of else None) for of in categories)]))
    paper = paper_rows() if beside_paper else []
    for row in paper:
        counts = _levels(row)
        figures = [heat(row.ps), EMPTY, verdict_bar(counts), *(cell(count, ",") for count in counts), EMPTY]
        rows.append(("paper", [text(row.name), *figures]))
    split += [("paper", [text(row.name), *(heat(row.categories.get(column)) for column in columns)]) for row in paper]
    head = ["model", "score", "95 %", "verdicts", "MB", "B", "T", "W", "MW", "invalid"]
    return section(
        f"Against the reference: {where}", said, panel(table(head, rows), legend()),
        panel("<h3>Score by category</h3>", table(["model", *columns], split)),
    )  # fmt: skip


def attributes_section(report: AttributesReport, where: str, beside_paper: bool) -> str:
    """Truth, coverage, importance."""
    said = f"Three marks of 0 or 1 for every answer, by {report.judge}, over {report.samples:,} notes; the total is their sum, 3 at most."
    rows = []
    for name, one in report.models.items():
        of = one.all
        figures = [cell(of.total), meter(of.truth), meter(of.coverage), meter(of.importance)]
        rows.append(("", [text(name), *figures, cell(of.n, ","), cell(one.invalid, ","), cell(one.unanswered, ",")]))
    rows += [
        ("paper", [text(row.name), cell(row.total), *map(meter, (row.truth, row.coverage, row.importance)), *[EMPTY] * 3])
        for row in (paper_rows() if beside_paper else [])
    ]
    head = ["model", "total", "truth", "coverage", "importance", "n", "invalid", "unanswered"]
    return section(f"Basic attributes: {where}", said, panel(table(head, rows)))


def ablation_section(report: AblationReport, directory: Path) -> str:
    """The plot and its figures."""
    said = (
        f"{report.model} tagged {report.samples:,} notes once with all and once without each modality; every answer is judged on the whole"
        f" note. The score falls most {report.most_critical}."
    )
    plot = directory / "ablation.svg"
    parts = []
    if plot.is_file():
        url = base64.b64encode(plot.read_bytes()).decode()
        parts.append(panel(f'<img class="plot" alt="pairwise score by category" src="data:image/svg+xml;base64,{url}">'))
    rows = [("", [text(name), *_condition(one)]) for name, one in report.conditions.items()]
    head = ["", "score", "95 %", "change", "95 %", "change where held", "notes", "total", "truth", "coverage", "importance"]
    return section(f"Without a modality: {label(directory)}", said, *parts, panel(table(head, rows)))


def judge_section(report: PairwiseReport, where: str) -> str:
    """What verdicts have to do with order and length."""
    said = (
        "Both orders of a pair should give one verdict, and standing first should gain nothing. Where verdicts follow the number of tags,"
        " length may be taken for worth, or may be worth: the same figures of a judge that knows the truth are the measure."
    )
    rows = [("", [text(name), *_order(one)]) for name, one in report.models.items()]
    head = ["model", "same verdict in both orders", "same side", "gain by place", "rho with more tags", "95 %", "points a tag", "95 %"]
    bands = [(name, one.length.bands) for name, one in report.models.items() if one.length]
    parts = [panel(table(head, rows))]
    if bands:
        lines = [("", [text(name), *map(_band, found)]) for name, found in bands]
        names = [f"{band.name} tags" for band in bands[0][1]]
        parts.append(panel("<h3>Share won (ties half), by tags against the reference</h3>", table(["model", *names], lines)))
    return section(f"The judge: {where}", f"{report.judge}. {said}", *parts)


def examples_section(shown: Sequence[Example]) -> str:
    """Notes beside their media and all answers."""
    said = (
        "Green is true, red struck through is false, grey says nothing anybody would look for, dashed is what the note tells and the answer"
        " lacks; = marks what the reference says too. Marks are there where the truth of the notes is known."
    )
    return section("Notes to look at", said, *map(_example, shown))


def _example(one: Example) -> str:
    note = one.sample.note
    pictures = "".join(
        f'<figure><img src="{text(url)}" alt=""><figcaption>{text(source)}</figcaption></figure>' for url, source in one.pictures
    )
    heard = " ".join(spoken.utterance.text for spoken in one.sample.speech)
    cards = " / ".join(" · ".join(filter(None, (card.name, card.brand, card.description))) for card in note.products)
    fields = [("body", note.body), ("product", cards), ("heard", heard), ("lacking", ", ".join(one.sample.degraded))]
    said = "".join(f"<p><b>{name}</b>{text(content)}</p>" for name, content in fields if content)
    head = f'<div class="why">{text(one.why)} · {text(note.category or "no category")} · {text(note.note_id)}</div>'
    told = f'<div class="told">{head}<div class="pictures">{pictures}</div><h4>{text(note.title)}</h4>{said}</div>'
    return f'<article class="note">{told}<div class="answers">{"".join(map(_answer, one.answers))}</div></article>'


def _answer(one: ShownAnswer) -> str:
    points = "" if one.points is None else f'<span class="points {level_of(one.points)}">{one.points:+.1f}</span>'
    lines = [] if one.tags else ['<li class="low">no tag</li>']
    for marked in one.tags:
        kinds = " ".join(filter(None, (marked.kind, "shared" if marked.shared else "")))
        where = f"{marked.tag.dimension} · {marked.tag.source}"
        lines.append(f'<li class="{kinds}"><span>{text(marked.tag.text)}</span><small>{text(where)}</small></li>')
    lines += [f'<li class="missing">{text(words)}</li>' for words in one.missing]
    return f"<div><h5>{text(one.name)}{points}</h5><ol>{''.join(lines)}</ol></div>"


def _condition(one: Condition) -> list[str]:
    score = one.pairwise.all
    of = one.attributes.all
    losses = [*_loss(one.loss), _loss(one.loss_where_held)[0], cell(one.loss_where_held.notes if one.loss_where_held else None, ",")]
    return [
        heat(score.ps if score else None),
        between(one.pairwise.ps_ci95),
        *losses,
        *map(cell, (of.total, of.truth, of.coverage, of.importance)),
    ]


def _loss(loss: Loss | None) -> list[str]:
    return [EMPTY, EMPTY] if loss is None else [heat(-loss.points), between((-loss.ci95[1], -loss.ci95[0]))]


def _order(one: ModelPairwise) -> list[str]:
    tags = one.length.tags if one.length else None
    follows = [cell(tags.spearman, "+.2f"), between(tags.spearman_ci95), cell(tags.slope, "+.3f"), between(tags.slope_ci95)] if tags else []
    return [meter(one.agree), meter(one.agree_side), cell(one.place, "+.3f"), *(follows or [EMPTY] * 4)]


def _band(of: Band) -> str:
    won = "–" if of.win is None else f"{of.win:.0%}"
    return f'<td>{won} <span class="ci">of {of.n:,}</span></td>'


def _levels(row: PaperRow) -> tuple[int, int, int, int, int]:
    return row.MB, row.B, row.T, row.W, row.MW
