"""Samples of the simulated community: media drawn small, tags as its truth tells them, or as a teacher that errs does."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from models.roles import Spoken, Utterance
from offline.demo_models.vlm_pictures import draw_pictures, pictures_of
from offline.json_lines import record_writer
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.told import plain_speech, told
from offline.simulate.truth import Truth
from offline.tag_data.erring_teacher import ErringTeacher
from offline.tag_data.samples import Sample, keep_file, write_samples
from offline.whole_file import write_json
from schemas.events import Category

Speech = Literal["perfect", "plain", "none"]
BATCH = 64
DRAWN = Path(".tagstream/drawn")


class Plan(Struct, frozen=True, kw_only=True):
    """Which notes of a community. ``first``: number to begin with; ``categories``: all where empty; ``speech``: as it was spoken, in
    lower case without signs, or unheard; ``noise``: how much the teacher errs; ``max_tags``: of a note at most."""

    notes: int
    first: int = 0
    seed: int = 7
    categories: list[Category] = msgspec.field(default_factory=list)
    speech: Speech = "perfect"
    noise: float = 0.0
    max_tags: int = 12


def simulated_samples(
    plan: Plan, directory: Path, drawn: Path = DRAWN, processes: int = 1, advance: Callable[[int], None] | None = None
) -> Iterator[tuple[Sample, Truth]]:
    """Samples with their truths, in the order of publishing. A note's sample does not depend on which others are asked for.

    Args:
        plan: which notes.
        directory: the samples' own; their pictures are put there.
        drawn: where drawn pictures are kept by seed, for whoever asks next.
        processes: that draw.
        advance: called with the number of notes done.
    """
    community = Community(plan.seed)
    teacher = ErringTeacher(community, plan.noise)
    cache = drawn / str(plan.seed)
    cache.mkdir(parents=True, exist_ok=True)
    chosen = _chosen(community, plan.first, plan.notes, frozenset(plan.categories))
    done = 0
    with ExitStack() as stack:
        pool = stack.enter_context(ProcessPoolExecutor(processes, get_context("spawn"))) if processes > 1 else None
        while batch := list(islice(chosen, BATCH)):
            _draw(batch, cache, pool)
            for made in batch:
                yield _sample(made, plan, teacher, directory, cache), made.truth
                done += 1
                if advance:
                    advance(done)


def write_simulated(
    plan: Plan, directory: Path, drawn: Path = DRAWN, processes: int = 1, advance: Callable[[int], None] | None = None
) -> dict[str, int]:
    """Writes samples.jsonl, truth.jsonl and the pictures; returns how many of what."""
    counts = {"notes": 0, "pictures": 0, "tags": 0, "with_speech": 0}
    with record_writer(directory / "truth.jsonl") as add_truth:

        def samples() -> Iterator[Sample]:
            for sample, truth in simulated_samples(plan, directory, drawn, processes, advance):
                add_truth(truth)
                counts["pictures"] += len(sample.pictures)
                counts["tags"] += len(sample.tags)
                counts["with_speech"] += bool(sample.speech)
                yield sample

        counts["notes"] = write_samples(directory / "samples.jsonl", samples())
    write_json(directory / "plan.json", plan)
    return counts


def _chosen(community: Community, first: int, count: int, categories: Collection[Category]) -> Iterator[SimulatedNote]:
    number, found = first, 0
    while found < count:
        made = community.note(number)
        number += 1
        if not categories or made.truth.category in categories:
            found += 1
            yield made


def _draw(batch: list[SimulatedNote], cache: Path, pool: ProcessPoolExecutor | None) -> None:
    wanted = [made.truth for made in batch if not all((cache / f"{one.name}.webp").is_file() for one in pictures_of(made.truth))]
    if pool is None:
        for truth in wanted:
            draw_pictures(truth, cache)
    else:
        list(pool.map(draw_pictures, wanted, [cache] * len(wanted), chunksize=4))


def _sample(made: SimulatedNote, plan: Plan, teacher: ErringTeacher, directory: Path, cache: Path) -> Sample:
    event, truth = made
    pictures = [keep_file(directory, cache / f"{one.name}.webp", one.source, one.position) for one in pictures_of(truth)]
    spoken = "" if plan.speech == "none" else truth.spoken
    true = told(truth, event, spoken, list(dict.fromkeys(one.source for one in pictures)))
    heard = plain_speech(spoken) if plan.speech == "plain" else spoken
    speech = [Spoken(Utterance(heard, 0, 1000, truth.language), "audio", 0)] if heard else []
    return Sample(note=event, pictures=pictures, speech=speech, tags=teacher.tags(truth, true)[: plan.max_tags])
