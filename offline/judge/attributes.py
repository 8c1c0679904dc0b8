"""Basic attribute scores (section 3.3) of models over samples."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from offline.judge.answers import Answers, Judged, category_of
from offline.judge.lines import judged
from offline.judge.roles import Answered, Attributes, Judge
from offline.tag_data.samples import Sample, Told

SCORES = "scores.jsonl"


class ScoreLine(Struct, frozen=True, kw_only=True):
    """A judge's scores of one answer; ``scores`` is None where it gave none that is valid."""

    key: str
    judge: str
    model: str
    note_id: str
    category: str
    scores: Attributes | None


class AttributeMeans(Struct, frozen=True):
    """Means over ``n`` valid answers: ``total`` in [0, 3], its three parts in [0, 1]. None where there is none."""

    total: float | None
    truth: float | None
    coverage: float | None
    importance: float | None
    n: int


class ModelAttributes(Struct, frozen=True):
    """One model. ``invalid``: answers that the judge gave no valid scores; ``unanswered``: samples that count as answered without tags."""

    all: AttributeMeans
    categories: dict[str, AttributeMeans]
    invalid: int
    unanswered: int


class _Asked(NamedTuple):
    model: str
    answered: Answered


def judge_attributes(
    judge: Judge, given: Judged, out: Path, *, chunk: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, ModelAttributes]:
    """Scores every model's answer for every sample, by model; lines go to ``SCORES`` in ``out``, from which a killed run goes on."""

    def ask(some: Sequence[_Asked]) -> list[ScoreLine]:
        found = judge.score([one.answered for one in some])
        return [
            ScoreLine(
                key=_key(judge, one), judge=judge.version, model=one.model, note_id=one.answered.sample.note.note_id,
                category=category_of(one.answered.sample), scores=scores,
            )
            for one, scores in zip(some, found, strict=True)
        ]  # fmt: skip

    asked = [_Asked(of.model, Answered(sample, of.tags.get(sample.note.note_id, []))) for of in given.models for sample in given.samples]
    lines = judged(out / SCORES, ScoreLine, {_key(judge, one): one for one in asked}, ask, chunk=chunk, advance=advance)
    return {of.model: summary(of, [line for line in lines if line.model == of.model]) for of in given.models}


def summary(of: Answers, lines: Sequence[ScoreLine]) -> ModelAttributes:
    """Means of one model's lines, over all and by category."""
    categories: dict[str, list[ScoreLine]] = defaultdict(list)
    for line in lines:
        categories[line.category].append(line)
    return ModelAttributes(
        means(lines),
        {name: means(found) for name, found in sorted(categories.items())},
        sum(line.scores is None for line in lines),
        of.unanswered,
    )


def means(lines: Sequence[ScoreLine]) -> AttributeMeans:
    """Over the valid ones."""
    valid = [line.scores for line in lines if line.scores is not None]
    if not valid:
        return AttributeMeans(None, None, None, None, 0)
    n = len(valid)
    return AttributeMeans(
        total=sum(one.total for one in valid) / n,
        truth=sum(one.truth for one in valid) / n,
        coverage=sum(one.coverage for one in valid) / n,
        importance=sum(one.importance for one in valid) / n,
        n=n,
    )


def digest_of(judge: Judge, sample: Sample, *answers: Sequence[Told]) -> str:
    """Names a judgement by all that it depends on; a sample's own tags are nothing to a judge."""
    bare = msgspec.structs.replace(sample, tags=[])
    return hashlib.blake2b(msgspec.json.encode([judge.version, bare, answers]), digest_size=10).hexdigest()


def _key(judge: Judge, one: _Asked) -> str:
    return f"{one.model} {digest_of(judge, one.answered.sample, one.answered.tags)}"
