"""Preference pairs (section 3.3): what the SFT model answers on the pool, where a judge finds it inferior to the reference.

The reference is chosen, the model's answer rejected. Every pair is judged in both orders, the second verdict negated, and the points of
the valid ones are summed. On wish there are negatives without a judge as well: a reference in which one attribute is swapped for
another of its dimension, which contradicts the note.
"""

import hashlib
import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from models.text import has_han
from offline.distil.predictions import read_predictions
from offline.json_lines import read_records, write_records
from offline.judge.arithmetic import POINTS, Verdict
from offline.judge.dual import Dual, judge_dual, pool
from offline.judge.lines import judged
from offline.judge.roles import Comparison, Judge
from offline.tag_data.samples import Sample, Told, read_samples
from offline.whole_file import whole_file, write_json
from schemas.errors import BadSetting, MissingPrerequisite

PAIRS, VERDICTS = "pairs.jsonl", "verdicts.jsonl"
CHUNK = 64
Origin = Literal["judged", "swapped"]


class Pair(Struct, frozen=True):
    """The sample's own tags are the chosen answer. ``points``: of both verdicts on the rejected one; 0 where none was asked for."""

    sample: Sample
    rejected: list[Told]
    origin: Origin
    points: int = 0


class Judgement(Struct, frozen=True):
    """A line of ``verdicts.jsonl``; ``key`` as in ``offline.judge.lines``."""

    key: str
    note_id: str
    first: Verdict | None
    second: Verdict | None


def judge_pool(
    judge: Judge, samples: Sequence[Sample], answers: dict[str, list[Told]], path: Path, advance: Callable[[int], None]
) -> list[Judgement]:
    """Both orders of every answered sample's pair: A is the model's answer, B the reference. A killed run asks for nothing twice."""
    asked = {}
    for sample in samples:
        if sample.tags and sample.note.note_id in answers:
            pair = Comparison(sample, answers[sample.note.note_id], sample.tags)
            asked[_key(judge.version, pair)] = pair

    def ask(pairs: Sequence[Comparison]) -> list[Judgement]:
        duals = judge_dual(judge, pairs)
        return [
            Judgement(_key(judge.version, pair), pair.sample.note.note_id, dual.first, dual.second)
            for pair, dual in zip(pairs, duals, strict=True)
        ]

    return judged(path, Judgement, asked, ask, chunk=CHUNK, advance=advance)


def points_of(judgement: Judgement) -> int | None:
    """The sum over the valid verdicts; None where there is none."""
    valid = Dual(judgement.first, judgement.second).valid
    return sum(POINTS[verdict] for verdict in valid) if valid else None


def inferior(samples: Sequence[Sample], answers: dict[str, list[Told]], judgements: Iterable[Judgement], at_most: int) -> Iterator[Pair]:
    """The pairs whose answer has no more points than ``at_most``."""
    by_note = {sample.note.note_id: sample for sample in samples}
    for one in judgements:
        points = points_of(one)
        if points is not None and points <= at_most and answers[one.note_id] != by_note[one.note_id].tags:
            yield Pair(by_note[one.note_id], answers[one.note_id], "judged", points)


def swapped(samples: Sequence[Sample], share: float, seed: int) -> Iterator[Pair]:
    """References of about this share of the samples with one attribute swapped for what another sample of the category has in the same
    dimension and language, and this note nowhere says."""
    values: dict[tuple[str | None, str, bool], set[str]] = defaultdict(set)
    for sample in samples:
        for tag in sample.tags:
            values[sample.note.category, tag.dimension, has_han(tag.text)].add(tag.text)
    for sample in samples:
        rng = random.Random(f"{seed} {sample.note.note_id}")  # noqa: S311
        if rng.random() >= share:
            continue
        said = _said(sample)
        for place in rng.sample(range(len(sample.tags)), len(sample.tags)):
            tag = sample.tags[place]
            others = values[sample.note.category, tag.dimension, has_han(tag.text)]
            found = sorted(other for other in others if other.casefold() not in said)
            if found:
                other = msgspec.structs.replace(tag, text=rng.choice(found))
                yield Pair(sample, [*sample.tags[:place], other, *sample.tags[place + 1 :]], "swapped")
                break


def write_pairs(directory: Path, pairs: Iterable[Pair], pictures: Path) -> int:
    """Writes ``pairs.jsonl`` with the pictures beside it, linked where the file system can; returns how many."""

    def linked() -> Iterator[Pair]:
        for pair in pairs:
            for picture in pair.sample.pictures:
                _link(pictures / picture.file, directory / picture.file)
            yield pair

    return write_records(directory / PAIRS, linked())


def read_pairs(directory: Path) -> Iterator[Pair]:
    """The pairs of a directory.

    Raises:
        MissingPrerequisite: when there are none.
        BadSetting: naming the line that is no pair.
    """
    remedy = f"make pairs with `tagstream offline dpo-pairs --model SFT --pool POOL --out {directory}`"
    return read_records(directory / PAIRS, Pair, remedy)


def make_pairs(
    judge: Judge,
    pool_file: Path,
    predictions: Path,
    out: Path,
    *,
    at_most: int = -1,
    swap_attributes: float = 0.0,
    seed: int = 7,
    limit: int = 0,
    advance: Callable[[int], None] = lambda _: None,
    spent: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Judges the predictions and writes the pairs and ``manifest.json``; returns what that holds.

    Raises:
        BadSetting: when no pair is left.
    """
    samples = list(read_samples(pool_file))
    samples = samples[: limit or None]
    answers = {one.note_id: one.told for one in read_predictions(predictions)}
    judgements = judge_pool(judge, samples, answers, out / VERDICTS, advance)
    kept = list(inferior(samples, answers, judgements, at_most))
    extra = list(swapped(samples, swap_attributes, seed))
    if not kept and not extra:
        raise BadSetting(f"{out}: no answer has {at_most} points or less; raise --at-most, or give a larger --pool")
    write_pairs(out, [*kept, *extra], pool_file.parent)
    pooled = pool(Dual(one.first, one.second) for one in judgements)
    points = Counter(points_of(one) for one in judgements)
    levels = {str(level): points[level] for level in sorted(level for level in points if level is not None)}
    held = {
        "judge": judge.version,
        "pool": pool_file.name,
        "at_most": at_most,
        "swap_attributes": swap_attributes,
        "seed": seed,
        "samples": len(samples),
        "judged": len(judgements),
        "verdicts": pooled.counts,
        "invalid_verdicts": pooled.invalid,
        "without_valid_verdict": points[None],
        "points": levels,
        "spent": spent(),
        "pairs": {"judged": len(kept), "swapped": len(extra)},
    }
    write_json(out / "manifest.json", held)
    plain: dict[str, Any] = msgspec.to_builtins(held, str_keys=True)
    return plain


def _key(version: str, pair: Comparison) -> str:
    content = msgspec.json.encode([version, pair.sample.note.note_id, pair.a, pair.b])
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _said(sample: Sample) -> str:
    """All that the note says, and its tags."""
    note = sample.note
    texts = [note.title, note.body, *(one.utterance.text for one in sample.speech), *(tag.text for tag in sample.tags)]
    texts += [text for card in note.products for text in (card.name, card.brand, card.description)]
    return "\n".join(texts).casefold()


def _link(source: Path, target: Path) -> None:
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise MissingPrerequisite(f"{source} is missing; copy the pictures along with the samples") from None
    except OSError:
        with whole_file(target) as part:
            shutil.copyfile(source, part)
