"""Training data of the demo model, prepared once: token ids, small pictures, and held-out notes with their truth.

A directory holds ``rows.npz`` (training), ``pictures.npz``, ``held_out.json``, ``facts.json`` and ``model/`` (tokenizer and processor).
Drawing the pictures takes nearly all of the time; they are kept in a directory of their own and never drawn twice.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from models.handbook import load_handbook
from models.prompts import Prompts
from models.roles import NoteMedia, SeenImage, Spoken, Utterance
from offline.demo_models.base_answers import base_answer
from offline.demo_models.intern_build import CONTEXT, NAMED, make_intern_processor
from offline.demo_models.vlm_build import Size, make_processor, train_tokenizer
from offline.demo_models.vlm_held_out import HELD_OUT, Choice, Pictures, held_out_notes
from offline.demo_models.vlm_pictures import SIDE, Seen, draw_pictures, open_small, pictures_of
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.told import plain_speech, told
from offline.simulate.truth import Truth
from offline.tag_data.samples import answer_text
from schemas.events import EvidenceSource

MAX_TAGS = 12
STYLE = "compact"
HEARD = 0.8  # share of the voices that are heard
PLAIN_SPEECH = 0.5  # share of the transcripts without capitals and punctuation
READ_NOTES = 16_000  # notes that the tokenizer learns from, about
BLIND = 0.1  # share of the notes with pictures that are shown without them
Family = Literal["qwen", "internvl"]
_Row = tuple[list[int], int, list[int]]


class Plan(Struct, frozen=True):
    """Which notes. ``seeds``: communities learned from; ``notes``: of each; ``drawn``: of each, with pictures of their own; ``held_out``:
    (seed, first note, notes) of those that are never learned from. ``family``: whose processor and prompts; ``schooled``: whether the
    answers are the notes' true tags, or a base model's (``base_answers``)."""

    seeds: list[int] = msgspec.field(default_factory=lambda: [7, 21, 22, 23])
    notes: int = 12_000
    drawn: int = 1_200
    held_out: list[Choice] = msgspec.field(default_factory=lambda: list(HELD_OUT))
    family: Family = "qwen"
    schooled: bool = True


class _Draft(NamedTuple):
    """A training note before it is put into tokens: pictures by number, source and position."""

    made: SimulatedNote
    pictures: list[tuple[int, EvidenceSource, int]]


def prepare(
    directory: Path, plan: Plan, cache: Path, advance: Callable[[int], None] | None = None, size: Size | None = None
) -> dict[str, Any]:
    """Writes the training data; returns its facts.

    Args:
        directory: made where it is absent.
        plan: which notes.
        cache: where drawn pictures are kept, by seed.
        advance: called with the number of notes whose pictures are ready.
        size: of the model, for its vocabulary.
    """
    size = size or Size()
    directory.mkdir(parents=True, exist_ok=True)
    _draw(plan, cache, advance)
    handbook = load_handbook()
    pictures = Pictures(cache)
    drafts = list(_drafts(plan, pictures))
    words = [dimension.id for book in handbook.categories.values() for dimension in book.dimensions]
    read = drafts[:: max(1, len(drafts) // READ_NOTES)]
    own = len(NAMED) if plan.family == "internvl" else 0
    tokenizer = train_tokenizer((text for draft in read for text in _texts(draft.made)), words, size.vocabulary - own)
    processor = (make_intern_processor if own else make_processor)(tokenizer, SIDE * SIDE)
    processor.save_pretrained(directory / "model")
    prompts = Prompts(handbook, STYLE, MAX_TAGS, processor.tokenizer.all_special_tokens)
    rows = _rows(drafts, prompts, processor, plan.schooled)
    _save_rows(directory / "rows.npz", rows)
    held_out = held_out_notes(plan.held_out, pictures)
    (directory / "held_out.json").write_bytes(msgspec.json.encode(held_out))
    pictures.save(directory / "pictures.npz")
    facts = {
        "plan": msgspec.to_builtins(plan), "rows": len(rows), "with_pictures": sum(bool(one.pictures) for one in drafts),
        "pictures": len(pictures.data), "held_out": len(held_out), "tokens": sum(len(row[0]) for row in rows),
        "size": msgspec.to_builtins(size), "style": STYLE, "prompt": prompts.style.version, "handbook": handbook.version,
        "image_pixels": SIDE * SIDE,
    }  # fmt: skip
    (directory / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def media_of(spoken: str, images: Sequence[SeenImage]) -> NoteMedia:
    """A note's media as a tagger takes them."""
    speech = [Spoken(Utterance(spoken, 0, 1000), "audio", 0)] if spoken else []
    return NoteMedia(list(images), speech)


def _draw(plan: Plan, cache: Path, advance: Callable[[int], None] | None) -> None:
    wanted = [(seed, number) for seed, first, notes in plan.held_out for number in range(first, first + notes)]
    wanted += [(seed, number) for number in range(plan.drawn) for seed in plan.seeds]
    for done, (seed, number) in enumerate(wanted, 1):
        (cache / str(seed)).mkdir(parents=True, exist_ok=True)
        draw_pictures(Community(seed).note(number).truth, cache / str(seed))
        if advance:
            advance(done)


def _drafts(plan: Plan, pictures: Pictures) -> Iterator[_Draft]:
    """Every note once: with its own pictures, with other notes' pictures of the very same scenes, or without."""
    for seed in plan.seeds:
        chance = random.Random(seed)  # noqa: S311
        pool: dict[tuple[Any, int], list[Seen]] = defaultdict(list)
        for made in Community(seed).notes(plan.drawn):
            for key, seen in _scenes(made.truth):
                pool[key].append(seen)
        for number, made in enumerate(Community(seed).notes(plan.notes)):
            scenes = _scenes(made.truth)
            if chance.random() < BLIND or not all(key in pool for key, _ in scenes):
                yield _Draft(made, [])
                continue
            shown = [(seen if number < plan.drawn else chance.choice(pool[key]), seen) for key, seen in scenes]
            yield _Draft(made, [(pictures.number(seed, drawn.name), seen.source, seen.position) for drawn, seen in shown])


def _scenes(truth: Truth) -> list[tuple[tuple[Any, int], Seen]]:
    """What each picture shows and how, with the picture; of a shot the number says how."""
    scenes = [*truth.images, *truth.shots]
    views = [*range(len(truth.images)), *(10 * len(truth.shots) + number for number in range(len(truth.shots)))]
    return [((scene, view), seen) for scene, view, seen in zip(scenes, views, pictures_of(truth), strict=True)]


def _texts(made: SimulatedNote) -> Iterator[str]:
    yield from (made.event.title, made.event.body, made.truth.spoken)
    for card in made.event.products:
        yield from (card.name, card.brand, card.description)
    yield from made.truth.tags()


def _rows(drafts: Sequence[_Draft], prompts: Prompts, processor: Any, schooled: bool) -> list[_Row]:
    """Token ids with one token for each picture, where the answer begins, and the pictures."""
    pairs = [_written(draft, prompts, processor, schooled) for draft in drafts]
    asked = processor.tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    answered = processor.tokenizer([answer for _, answer in pairs])["input_ids"]
    end = processor.tokenizer.eos_token_id
    return [
        ([*prompt, *answer, end], len(prompt), [number for number, _, _ in draft.pictures])
        for draft, prompt, answer in zip(drafts, asked, answered, strict=True)
    ]


def _written(draft: _Draft, prompts: Prompts, processor: Any, schooled: bool) -> tuple[str, str]:
    """Prompt and answer of a draft."""
    event, truth = draft.made
    chance = random.Random(f"{truth.note_id}-{truth.product}")  # noqa: S311
    spoken = truth.spoken if chance.random() < HEARD else ""
    tags = told(truth, event, spoken, [source for _, source, _ in draft.pictures])
    heard = plain_speech(spoken) if chance.random() < PLAIN_SPEECH else spoken
    if not schooled:
        book = prompts.handbook.category(truth.category)
        tags = base_answer(tags, event, heard, [dimension.id for dimension in book.dimensions], chance)
    blank = np.zeros((1, 1, 3), np.uint8)
    media = media_of(heard, [SeenImage(blank, source, position) for _, source, position in draft.pictures])
    text = processor.apply_chat_template(prompts.of(event, media).chat(), tokenize=False, add_generation_prompt=True)
    text = text.replace(CONTEXT, f"{NAMED['start_image_token']}{CONTEXT}{NAMED['end_image_token']}")  # as InternVL's processor does
    return text, answer_text(tags[:MAX_TAGS])


def _save_rows(path: Path, rows: Sequence[_Row]) -> None:
    np.savez_compressed(
        path,
        ids=np.concatenate([np.asarray(row[0], np.uint16) for row in rows]),
        ends=np.cumsum([len(row[0]) for row in rows]),
        answers=np.asarray([row[1] for row in rows], np.uint16),
        pictures=np.asarray([number for row in rows for number in row[2]], np.uint16),
        picture_ends=np.cumsum([len(row[2]) for row in rows]),
    )


def open_pictures(path: Path) -> list["np.typing.NDArray[np.uint8]"]:
    """Pixels of every picture of a prepared directory."""
    with np.load(path) as stored:
        data, ends = stored["data"].tobytes(), stored["ends"].tolist()
    return [open_small(data[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
