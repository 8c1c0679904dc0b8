"""What a model learns from: prompts as the tagger will send them, with the answers that are to follow.

Only the sizes of pictures are read here; the pictures themselves are opened when a batch is made (``collate.py``).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, field
from PIL import Image

from models.prompts import Prompts
from models.roles import NoteMedia, SeenImage
from models.vlm_model import VlmModel
from offline.tag_data.samples import Sample, Told, answer_text
from schemas.errors import BadSetting, MissingPrerequisite

_UNSEEN = np.zeros((0, 0, 3), np.uint8)  # a prompt's words do not depend on pixels


class Row(Struct, frozen=True):
    """``prompt``: rendered, one place for each of ``images``, which are files relative to the samples. ``answers``: what may follow it, the
    end token not written out: the one to learn, or the chosen and the rejected one. ``length``: tokens with the longest answer."""

    note_id: str
    images: list[str]
    prompt: str
    answers: list[str]
    length: int


class Rows(Struct):
    """``dropped``: how many samples are left out, by reason."""

    taken: list[Row] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


class RowMaker:
    """Makes rows for one model.

    Args:
        model: whose template and tokenizer count.
        prompts: of the style that the tagger will use.
        directory: where the samples lie.
        image_pixels: area of a picture at most.
        images: pictures of a note at most, the first ones.
        max_tokens: of a row; longer ones are dropped, never cut.
    """

    def __init__(self, model: VlmModel, prompts: Prompts, directory: Path, *, image_pixels: int, images: int, max_tokens: int) -> None:
        self._model = model
        self._prompts = prompts
        self._directory = directory
        self._pixels = image_pixels
        self._images = images
        self._max_tokens = max_tokens

    def rows(self, samples: Iterable[tuple[Sample, Sequence[Sequence[Told]]]]) -> Rows:
        """Rows of samples with their answers, in order.

        Raises:
            BadSetting: when none is left.
        """
        made = Rows()
        for sample, answers in samples:
            row = self._row(sample, answers)
            if isinstance(row, str):
                made.dropped[row] += 1
            else:
                made.taken.append(row)
        if not made.taken:
            raise BadSetting(f"{self._directory}: no sample is left to learn from; dropped: {dict(made.dropped)}")
        return made

    def _row(self, sample: Sample, answers: Sequence[Sequence[Told]]) -> Row | str:
        note = sample.note
        if note.type == "note.deleted" or note.category is None:
            return "without category"
        if not answers[0]:
            return "without tags"
        shown = sample.pictures[: self._images]
        seen = [SeenImage(_UNSEEN, one.source, one.position) for one in shown]
        prompt = self._prompts.of(note, NoteMedia(seen, list(sample.speech)))
        if not prompt.data and not prompt.images:
            return "without content"
        text = self._model.render(prompt)
        texts = [answer_text(answer[: self._prompts.max_tags]) for answer in answers]
        tokens = self._model.tokenizer([text, *texts])["input_ids"]
        pictures = sum(self._tokens(one.file) - 1 for one in shown)
        length = len(tokens[0]) + pictures + max(map(len, tokens[1:])) + 1
        if length > self._max_tokens:
            return "too long"
        return Row(note.note_id, [one.file for one in shown], text, texts, length)

    def _tokens(self, file: str) -> int:
        path = self._directory / file
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except FileNotFoundError:
            raise MissingPrerequisite(f"{path} is missing; copy the pictures along with the samples") from None
        return self._model.picture_tokens(height, width, self._pixels)
