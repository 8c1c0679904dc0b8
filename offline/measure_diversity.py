"""``tagstream offline measure-diversity``: what diversity costs in recall and gains in distinct tags, by its setting.

Measured on pseudo-cold notes, held out of the training part of the dataset's own split: it is a setting that is chosen here, and no
reader's target may decide one. The notes are arranged by ``recall.diversity``, the code that serves.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.roles import TagEncoder
from offline import recall_baselines as baselines
from offline.choose_recall import Chosen, standardise
from offline.recall_content import build_content
from offline.recall_data import Layout, load_dataset
from offline.recall_linear import fit_linear
from offline.recall_metrics import Ranker, Scores
from offline.recall_task import Protocol, Task, make_task, within
from recall.diversity import diversify
from recall.merge import Ranked
from recall.stores import Glance
from schemas.events import Tag
from schemas.stored import NoteRecord

SETTINGS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
SHOWN = 20
POOL = 4
Rows = NDArray[np.int64]


def measure(task: Task, ranker: Ranker, k: int, settings: Sequence[float], readers: int) -> list[dict[str, float]]:
    """One row of figures for each setting, over the same readers, drawn with seed 0.

    Args:
        k: length of the ranking that recall looks at; distinct tags and overlap are those of its first 20.
        settings: ``recall_diversity``, 1 - lambda.
    """
    count = task.profiles.shape[0]
    drawn = np.sort(np.random.default_rng(0).permutation(count)[:readers])
    scores, targets = ranker(task.profiles[drawn]), task.targets[drawn]
    records = {str(place): _record(task, place) for place in range(len(task.cold))}
    names = (f"recall@{k}", f"distinct_tags@{SHOWN}", f"distinct_categories@{SHOWN}", f"overlap@{SHOWN}")
    rows = []
    for setting in settings:
        figures = [
            _figures(diversify(_ranked(scores[row], POOL * k), records, k, 1.0 - setting)[:k], records, targets[row].indices)
            for row in range(len(drawn))
        ]
        rows.append({"diversity": setting} | dict(zip(names, np.mean(figures, axis=0).round(4).tolist(), strict=True)))
    return rows


def _figures(arranged: Sequence[Ranked], records: Mapping[str, Glance], wanted: Rows) -> tuple[float, float, float, float]:
    """Of one answer: recall, then distinct tags, distinct categories and overlap of what a reader sees first."""
    notes = [one.note_id for one in arranged]
    sets = [{tag.text for tag in records[note].tags} for note in notes[:SHOWN]]
    categories = {records[note].category for note in notes[:SHOWN]}
    recall = len({str(place) for place in wanted}.intersection(notes)) / len(wanted)
    return recall, len(set[str]().union(*sets)), len(categories), _overlap(sets)


def _ranked(scores: NDArray[np.float32], count: int) -> list[Ranked]:
    """The first of one reader's ranking; diversity reads no more."""
    best = np.argsort(-scores, kind="stable")[:count]
    return [Ranked(str(place), 0, float(scores[place]), []) for place in best]


def _record(task: Task, place: int) -> NoteRecord:
    note = int(task.cold[place])
    row = task.content.counts[note].indices
    tags = [Tag(text=task.content.texts[column], dimension="", rank=rank, confidence=1.0) for rank, column in enumerate(row, start=1)]
    event = task.data.events[note] if task.data.events is not None else None
    author, category = (event.author_id, event.category) if event else ("", None)
    return NoteRecord(str(place), author, 0, False, 0, b"", 0, category, tags, "", "", [], {})


def _overlap(sets: Sequence[set[str]]) -> float:
    """Mean Jaccard overlap of the tags of two notes shown together."""
    pairs = [(one, other) for at, one in enumerate(sets) for other in sets[:at]]
    return float(np.mean([len(one & other) / (len(one | other) or 1) for one, other in pairs])) if pairs else 0.0


def ranker_of(task: Task, method: str, encoder: TagEncoder) -> Ranker:
    """The ranking that is to be arranged: the idf index, or the merge with its default settings."""
    if method == "tag_index_idf":
        return baselines.tag_index(task, 1.0)
    from offline.train_towers import tower_ranker, train_towers

    chosen, vectors = Chosen(), baselines.encode_tags(task, encoder)
    linear = fit_linear(task, build_content(task, vectors, chosen.content)[0], chosen.linear)
    towers = train_towers(linear, chosen.tower)
    rankers = {"linear": linear.ranker(), "two_tower": tower_ranker(towers, task.cold), "tag_index_idf": baselines.tag_index(task, 1.0)}

    def merged(profiles: Any) -> Scores:
        parts = [np.float32(weight) * standardise(rankers[name](profiles)) for name, weight in chosen.weights.items()]
        return np.asarray(np.sum(parts, axis=0), np.float32)

    def chunked(profiles: Any) -> Scores:
        return np.concatenate([merged(profiles[start : start + 512]) for start in range(0, profiles.shape[0], 512)])

    return chunked


@click.command("measure-diversity")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--layout", type=click.Choice(["auto", *get_args(Layout)]), default="auto", show_default=True, help="Kind of files.")
@click.option("--protocol", type=click.Choice(get_args(Protocol)), help="By default time for movielens, random for others.")
@click.option("--method", type=click.Choice(["tag_index_idf", "merge"]), default="merge", show_default=True, help="What is arranged.")
@click.option("--k", type=click.IntRange(min=1), default=50, show_default=True, help="Length of the ranking looked at.")
@click.option("--readers", type=click.IntRange(min=1), default=1000, show_default=True, help="How many readers at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def measure_diversity(*, directory: Path, layout: str, protocol: Protocol | None, method: str, k: int, readers: int, as_json: bool) -> None:
    """What the setting TAGSTREAM_RECALL_DIVERSITY costs in recall and gains in distinct tags, on pseudo-cold notes.

    Example: tagstream offline measure-diversity data/citeulike-a --method tag_index_idf
    """
    from models.encoder import load_tag_encoder
    from schemas.settings import load

    data = load_dataset(directory, None if layout == "auto" else layout)  # type: ignore[arg-type]
    task = within(make_task(data, protocol or ("time" if data.name == "movielens-tmdb" else "random")))
    Console(stderr=True).print(f"{data.name}: {task.profiles.shape[0]} queries, {len(task.cold)} pseudo-cold notes", highlight=False)
    rows = measure(task, ranker_of(task, method, load_tag_encoder(load())), k, SETTINGS, readers)
    if as_json:
        click.echo(json.dumps({"dataset": data.name, "method": method, "settings": rows}))
        return
    table = Table(*rows[0], title=f"{data.name}, {method}", box=None, header_style="bold")
    for row in rows:
        table.add_row(*(f"{value:g}" for value in row.values()))
    Console().print(table)
