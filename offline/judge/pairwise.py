"""Pairwise comparison (section 3.3) of models with a reference, in both orders."""

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from offline.judge.answers import Answers, Judged, category_of
from offline.judge.arithmetic import POINTS, PairwiseScore, Verdict, pairwise_score
from offline.judge.attributes import digest_of
from offline.judge.dual import Dual, judge_dual, pool
from offline.judge.length_bias import LengthBias, length_bias
from offline.judge.lines import judged
from offline.judge.resamples import interval, resamples
from offline.judge.roles import Comparison, Judge
from offline.tag_data.samples import Told
from offline.whole_file import whole_file
from schemas.errors import BadSetting

VERDICTS_LINES, VERDICTS_CSV = "verdicts.jsonl", "verdicts.csv"


class VerdictLine(Struct, frozen=True, kw_only=True):
    """Both verdicts on one answer. ``tags``, ``characters``: how many the answer has; ``reference_...``: the reference's."""

    key: str
    judge: str
    model: str
    note_id: str
    category: str
    first: Verdict | None
    second: Verdict | None
    tags: int
    characters: int
    reference_tags: int
    reference_characters: int

    @property
    def dual(self) -> Dual:
        """The verdicts alone."""
        return Dual(self.first, self.second)

    @property
    def points(self) -> float | None:
        """Mean of the valid verdicts' points; None without any."""
        valid = self.dual.valid
        return sum(POINTS[one] for one in valid) / len(valid) if valid else None


class ModelPairwise(Struct, frozen=True):
    """One model against the reference. ``all``: None without a valid verdict; ``ps_ci95``: 95 % interval of the score over notes.
    ``invalid``, ``agree``, ``agree_side``, ``place``: as in ``dual.Pooled``. ``unanswered``: samples that count as answered without tags;
    ``without_reference``: samples left out."""

    all: PairwiseScore | None
    ps_ci95: tuple[float, float] | None
    categories: dict[str, PairwiseScore]
    pairs: int
    invalid: int
    agree: float | None
    agree_side: float | None
    place: float | None
    length: LengthBias | None
    unanswered: int
    without_reference: int


class _Asked(NamedTuple):
    model: str
    pair: Comparison


def judge_pairwise(
    judge: Judge, given: Judged, out: Path, *, chunk: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, ModelPairwise]:
    """Compares every model's answers with the reference, by model.

    Lines go to ``VERDICTS_LINES`` in ``out``, from which a killed run goes on, and in the end the verdicts to ``VERDICTS_CSV``, which
    ``judge score`` reads.

    Raises:
        BadSetting: when no sample has a reference.
    """
    if not given.references:
        raise BadSetting("samples: none has tags to compare with; give --reference PRED or samples with tags")

    def ask(some: Sequence[_Asked]) -> list[VerdictLine]:
        return [_line(judge, one, dual) for one, dual in zip(some, judge_dual(judge, [one.pair for one in some]), strict=True)]

    asked = [
        _Asked(of.model, Comparison(sample, of.tags.get(sample.note.note_id, []), given.references[sample.note.note_id]))
        for of in given.models
        for sample in given.samples
        if sample.note.note_id in given.references
    ]
    lines = judged(out / VERDICTS_LINES, VerdictLine, {_key(judge, one): one for one in asked}, ask, chunk=chunk, advance=advance)
    write_csv(out / VERDICTS_CSV, lines)
    left_out = len(given.samples) - len(given.references)
    return {of.model: summary(of, [line for line in lines if line.model == of.model], left_out) for of in given.models}


def summary(of: Answers, lines: Sequence[VerdictLine], left_out: int = 0) -> ModelPairwise:
    """Scores of one model's lines, over all and by category."""
    categories: dict[str, list[Dual]] = defaultdict(list)
    for line in lines:
        categories[line.category].append(line.dual)
    pooled = pool(line.dual for line in lines)
    scores = {name: score for name, duals in sorted(categories.items()) if (score := _score(duals)) is not None}
    return ModelPairwise(
        all=_score([line.dual for line in lines]),
        ps_ci95=score_interval(lines),
        categories=scores,
        pairs=pooled.pairs,
        invalid=pooled.invalid,
        agree=pooled.agree,
        agree_side=pooled.agree_side,
        place=pooled.place,
        length=_length(lines),
        unanswered=of.unanswered,
        without_reference=left_out,
    )


def score_interval(lines: Sequence[VerdictLine]) -> tuple[float, float] | None:
    """95 % interval over notes: the verdicts of a note stay together. None without a valid verdict."""
    valid = [[POINTS[one] for one in line.dual.valid] for line in lines if line.dual.valid]
    sums, counts = np.array([sum(one) for one in valid]), np.array([len(one) for one in valid])
    return interval([block @ sums / (block @ counts) for block in resamples(len(valid))]) if valid else None


def write_csv(path: Path, lines: Sequence[VerdictLine]) -> None:
    """One row for each valid verdict; the second order's is negated already."""
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "verdict", "note_id", "category", "order"))
        for line in lines:
            for order, verdict in (("first", line.first), ("second", line.second)):
                if verdict is not None:
                    writer.writerow((line.model, verdict, line.note_id, line.category, order))


def _line(judge: Judge, one: _Asked, dual: Dual) -> VerdictLine:
    pair = one.pair
    return VerdictLine(
        key=_key(judge, one), judge=judge.version, model=one.model, note_id=pair.sample.note.note_id, category=category_of(pair.sample),
        first=dual.first, second=dual.second, tags=len(pair.a), characters=_characters(pair.a), reference_tags=len(pair.b),
        reference_characters=_characters(pair.b),
    )  # fmt: skip


def _score(duals: Sequence[Dual]) -> PairwiseScore | None:
    counts = pool(duals).counts
    return pairwise_score(counts) if any(counts.values()) else None


def _length(lines: Sequence[VerdictLine]) -> LengthBias | None:
    rows = [(one.points, one.tags - one.reference_tags, one.characters - one.reference_characters) for one in lines]
    return length_bias([(points, tags, characters) for points, tags, characters in rows if points is not None])


def _characters(tags: Sequence[Told]) -> int:
    return sum(len(tag.text) for tag in tags)


def _key(judge: Judge, one: _Asked) -> str:
    return f"{one.model} {digest_of(judge, one.pair.sample, one.pair.a, one.pair.b)}"
