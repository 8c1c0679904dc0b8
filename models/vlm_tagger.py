"""The distilled vision-language model in process: prompt, constrained greedy decoding, tolerant parser, guards.

The same note gives the same prompt, and pictures of the same size, in any batch; decoding is greedy. What a batch changes is the padding,
and with it the last digits of the floats: two tokens that are as good as equally probable may change places, and a confidence its last
digit. In float32 the tests see no difference; in bfloat16 a rare note can differ. Notes are put into batches by length, so the same call
gives the same answers on every run.

torch and transformers are imported with this module.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from models.answers import FoundTag, parse_answer
from models.guards import Guards, guard
from models.guards.vocabulary import KnownTags
from models.handbook import Handbook
from models.prompts import Prompt, Prompts
from models.roles import NoteMedia, NoteTags
from models.text import language_of
from models.vlm_card import check_card, vlm_version
from models.vlm_decoding import Grammars, Watch, Written
from models.vlm_model import VlmModel
from models.vlm_steps import RecordedSteps
from schemas.errors import PoisonBatch
from schemas.events import NoteEvent

LOG = logging.getLogger(__name__)


class Bounds(Struct, frozen=True):
    """What a batch may cost. ``batch``: notes; ``tokens``: of a batch's prompts, padding counted; ``new_tokens``: of an answer;
    ``image_pixels``: area of a picture; ``images``: of a note; ``recorded``: whether a GPU's decoding steps are recorded."""

    batch: int = 16
    tokens: int = 65_536
    new_tokens: int = 512
    image_pixels: int = 448 * 448
    images: int = 8
    recorded: bool = False


class Asked(Struct, frozen=True):
    """A note on its way through the model. ``size``: tokens of its prompt, pictures counted."""

    note: NoteEvent
    media: NoteMedia | None
    prompt: Prompt
    text: str
    size: int


class VlmTagger:
    """Implements ``models.roles.Tagger``.

    Args:
        model: the loaded model.
        handbook: the interest dimensions.
        max_tags: tags kept per note.
        bounds: what a batch may cost; ``image_pixels`` gives way to what the weights were trained with.
        guards: what stands between the answer and the tags.
        known: tags offered to the prompt; None offers none.
        constrained: whether decoding is held to the schema.
        steps: recorded decoding steps; None: on CUDA those of ``bounds``, elsewhere none.

    Raises:
        BundleMismatch: when the weights were trained with another prompt or handbook.
    """

    name = "vlm"
    sees = True
    hears = True

    def __init__(
        self,
        model: VlmModel,
        handbook: Handbook,
        max_tags: int = 10,
        bounds: Bounds | None = None,
        *,
        guards: Guards | None = None,
        known: KnownTags | None = None,
        constrained: bool = True,
        steps: RecordedSteps | None = None,
    ) -> None:
        card = model.card
        self._model = model
        self._bounds = bounds or Bounds()
        self._pixels = card.image_pixels if card else self._bounds.image_pixels
        self._prompts = Prompts(handbook, card.style if card else "full", max_tags, model.specials)
        if card:
            check_card(card, self._prompts, model.name)
        self._handbook = handbook
        self._max_tags = max_tags
        self._guards = guards or Guards()
        self._known = known
        self._constrained = constrained
        self._grammars = Grammars(model.tokenizer, model.vocabulary, model.stops)
        if steps is None and self._bounds.recorded and model.device.type == "cuda":
            steps = RecordedSteps(model.model)
        self._steps = steps
        self._fits = self._bounds.batch
        weights = card.version if card else model.identity
        self.weights, self.prompts = weights, self._prompts
        self.version = vlm_version(weights, self._prompts, self._pixels)

    def tag(self, notes: Sequence[NoteEvent], media: Sequence[NoteMedia] | None = None) -> list[NoteTags]:
        """See ``models.roles.Tagger``. A note without words, speech and pictures gets no tags.

        Raises:
            PoisonBatch: when one note alone does not fit into the device's memory.
        """
        given: Sequence[NoteMedia | None] = media if media is not None else [None] * len(notes)
        answers = [NoteTags(note.category, []) for note in notes]
        asked: dict[int, Asked] = {}
        for number, (note, of) in enumerate(zip(notes, given, strict=True)):
            one = None if note.type == "note.deleted" else self._ask(note, of)
            if one is not None:
                asked[number] = one
            elif note.type != "note.deleted":
                answers[number] = _empty(note, of)
        order = sorted(asked, key=lambda number: (asked[number].size, notes[number].note_id, number))
        for chunk in self._chunks(order, asked):
            written = self._write([asked[number] for number in chunk])
            for number, answer in zip(chunk, written, strict=True):
                answers[number] = self._answer(asked[number], answer)
        return answers

    def _ask(self, note: NoteEvent, media: NoteMedia | None) -> Asked | None:
        seen = _within(media, self._bounds.images)
        known = self._known.near(note, media) if self._known else []
        prompt = self._prompts.of(note, seen, known)
        if not prompt.data and not prompt.images:
            return None
        text = self._model.render(prompt)
        size = len(text) // 2 + len(prompt.images) * self._model.image_tokens(self._pixels)
        return Asked(note, seen, prompt, text, size)

    def _chunks(self, order: Sequence[int], asked: dict[int, Asked]) -> Iterator[list[int]]:
        """Batches within the bounds; sizes rise, so the last note of a batch sets its padding."""
        chunk: list[int] = []
        for number in order:
            if chunk and (len(chunk) >= self._bounds.batch or (len(chunk) + 1) * asked[number].size > self._bounds.tokens):
                yield chunk
                chunk = []
            chunk.append(number)
        if chunk:
            yield chunk

    def _write(self, asked: Sequence[Asked]) -> list[Written]:
        """Answers of one batch; what does not fit into memory, once no caches of earlier batches are left there, is halved, and later
        batches start no larger than what fitted."""
        if len(asked) > self._fits:
            half = self._fits
            return [one for first in range(0, len(asked), half) for one in self._write(asked[first : first + half])]
        try:
            return self._generate(asked)
        except torch.OutOfMemoryError as error:
            reason = str(error)
        spare = self._steps is not None and self._steps.free()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        if spare:
            return self._write(asked)
        if len(asked) == 1:
            raise PoisonBatch(f"note {asked[0].note.note_id} alone does not fit into the device's memory: {reason}")
        self._fits = max(1, len(asked) // 2)
        LOG.warning("out of memory with %d notes: batches of %d from here on", len(asked), self._fits)
        return self._write(asked)

    @torch.inference_mode()
    def _generate(self, asked: Sequence[Asked]) -> list[Written]:
        model = self._model
        _forget(model.model)
        pictures: list[list[NDArray[np.uint8]]] = [[image.pixels for image in one.prompt.images] for one in asked]
        inputs = model.inputs([one.text for one in asked], pictures, self._pixels)
        rows, prompt = inputs["input_ids"].shape
        grammars = [self._grammars.of(self._prompts.schema(one.prompt.category)) if self._constrained else None for one in asked]
        watch = Watch(grammars, model.vocabulary, model.never)
        made: Any = model.model.generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            max_new_tokens=self._bounds.new_tokens,
            eos_token_id=model.stops,
            pad_token_id=model.pad,
            **watch.arguments(),
            **(self._steps.arguments(rows, prompt + self._bounds.new_tokens) if self._steps else {}),
        )
        answers = zip(made[:, prompt:].tolist(), watch.log_probabilities().tolist(), strict=True)
        return [self._grammars.written(row, found) for row, found in answers]

    def _answer(self, asked: Asked, written: Written) -> NoteTags:
        note, media = asked.note, asked.media
        answer = parse_answer(written.text, self._handbook, note.category, self._max_tags)

        def confidence(tag: FoundTag) -> float:
            return written.confidence(tag.start, tag.end)

        guarded = guard(answer, note, media, self._guards, confidence)
        for conflict in guarded.conflicts:
            LOG.info("note %s: %s", note.note_id, conflict)
        answered = _empty(note, media)
        return NoteTags(answer.category, guarded.tags, answered.language, answered.degraded, answered.may_recover)


def _forget(model: Any) -> None:
    """Qwen3-VL keeps the positions of its last pictures, and would apply them to a batch without any."""
    if getattr(model.model, "rope_deltas", None) is not None:
        model.model.rope_deltas = None


def _within(media: NoteMedia | None, most: int) -> NoteMedia | None:
    """The media with no more pictures than allowed, the first ones."""
    if media is None or len(media.images) <= most:
        return media
    return NoteMedia(media.images[:most], media.speech, media.degraded, media.may_recover)


def _empty(note: NoteEvent, media: NoteMedia | None) -> NoteTags:
    language = language_of(f"{note.title}\n{note.body[:4000]}")
    lacks, may_recover = (media.degraded, media.may_recover) if media else ([], False)
    return NoteTags(note.category, [], None if language == "other" else language, list(lacks), may_recover)
