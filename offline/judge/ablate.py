"""What a model's tags are worth without one modality of the notes (section 4.3): it answers once with all and once without each, and every
answer is judged on the whole note, so what could not be seen is missing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from msgspec import Struct

from offline.distil.infer import Modality
from offline.judge.answers import Judged
from offline.judge.attributes import ModelAttributes, judge_attributes
from offline.judge.lines import read_lines
from offline.judge.pairwise import VERDICTS_LINES, ModelPairwise, VerdictLine, judge_pairwise
from offline.judge.readings import sources_of
from offline.judge.resamples import interval, resamples
from offline.judge.roles import Judge
from offline.tag_data.samples import Sample

MODALITIES: tuple[Modality, ...] = get_args(Modality)
ALL = "all"
SOURCES = {"text": ("title", "body"), "images": ("image", "video"), "products": ("product",), "speech": ("audio",)}


class Loss(Struct, frozen=True):
    """How many points the pairwise score falls; ``ci95``: 95 % interval over notes, whose answers with and without are paired."""

    points: float
    ci95: tuple[float, float]
    notes: int


class Condition(Struct, frozen=True):
    """The model with all, or without one modality. ``loss``: against all, None for that itself; ``loss_where_held``: on the notes that have
    the modality; ``categories``: loss of each."""

    attributes: ModelAttributes
    pairwise: ModelPairwise
    loss: Loss | None
    loss_where_held: Loss | None
    categories: dict[str, Loss]


def name_of(without: Modality | None) -> str:
    """What a condition is called, and its file of predictions."""
    return ALL if without is None else f"without {without}"


def judge_ablation(
    judge: Judge, given: Judged, out: Path, *, chunk: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, Condition]:
    """Judges the answers of every condition, by name; ``ALL`` is among the models of ``given``."""
    attributes = judge_attributes(judge, given, out, chunk=chunk, advance=advance)
    pairwise = judge_pairwise(judge, given, out, chunk=chunk, advance=advance)
    points: dict[str, dict[str, float]] = {name: {} for name in pairwise}
    for line in read_lines(out / VERDICTS_LINES, VerdictLine):
        if line.points is not None:
            points[line.model][line.note_id] = line.points
    samples = {sample.note.note_id: sample for sample in given.samples}
    return {name: _condition(name, attributes[name], pairwise[name], points, samples) for name in pairwise}


def most_critical(conditions: Mapping[str, Condition]) -> str:
    """Without which modality the score falls most."""
    losses = {name: one.loss.points for name, one in conditions.items() if one.loss is not None}
    return max(losses, key=lambda name: losses[name], default="")


def loss_of(whole: Sequence[float], less: Sequence[float]) -> Loss | None:
    """Mean fall of points that belong together pair by pair; None without any."""
    falls = np.asarray(whole) - np.asarray(less)
    between = interval([block @ falls / len(falls) for block in resamples(len(falls))]) if len(falls) else None
    return None if between is None else Loss(float(falls.mean()), between, len(falls))


def _condition(
    name: str,
    attributes: ModelAttributes,
    pairwise: ModelPairwise,
    points: Mapping[str, Mapping[str, float]],
    samples: Mapping[str, Sample],
) -> Condition:
    if name == ALL:
        return Condition(attributes, pairwise, None, None, {})
    modality = next(one for one in MODALITIES if name_of(one) == name)
    notes = [note for note in points[name] if note in points[ALL]]
    held = [note for note in notes if sources_of(samples[note]) & set(SOURCES[modality])]

    def loss(of: Sequence[str]) -> Loss | None:
        return loss_of([points[ALL][note] for note in of], [points[name][note] for note in of])

    categories = sorted({samples[note].note.category or "" for note in notes})
    split = {one: loss([note for note in notes if (samples[note].note.category or "") == one]) for one in categories}
    return Condition(attributes, pairwise, loss(notes), loss(held), {one: found for one, found in split.items() if found is not None})
