"""Recorded decoding steps: as CUDA graphs where there is a GPU, elsewhere on a tape that repeats the operations on the same memory."""

import logging
from typing import Any

import numpy as np
import pytest
import torch

from models.guards import Guards
from models.handbook import load_handbook
from models.roles import NoteMedia, SeenImage
from models.vlm_model import VlmModel
from models.vlm_steps import RecordedSteps, Step, record_graph
from models.vlm_tagger import Bounds, VlmTagger
from schemas.errors import PoisonBatch
from schemas.events import NoteEvent
from tests.models.tape import record_tape
from tests.models.tiny_vlm import PIXELS, tiny_intern, tiny_intern3, tiny_qwen

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAMILIES = {"qwen": (tiny_qwen, PIXELS), "intern": (tiny_intern, 56 * 56 * 2), "intern3": (tiny_intern3, 56 * 56 * 2)}
TITLES = ["Cushioned running shoes", "缓震跑鞋", "linen shirt with a wide collar", "x"]
NEW_TOKENS = 60


class Recorder:
    """Records, and counts it. ``failing``: raised in place of the next ones."""

    def __init__(self) -> None:
        self.count = 0
        self.failing: list[Exception] = []

    def __call__(self, step: Step, undo: Step, device: torch.device) -> Step:
        if self.failing:
            step()  # a cache that is further than it should be
            raise self.failing.pop(0)
        self.count += 1
        return (record_graph if device.type == "cuda" else record_tape)(step, undo, device)


def make(family: str = "qwen", record: Recorder | None = None, places: int = 100_000, **bounds: int) -> VlmTagger:
    """A tagger on weights of its own: recording changes the model. Without ``record`` its steps are launched one by one."""
    made, pixels = FAMILIES[family]
    tiny = made.__wrapped__()
    model = VlmModel(tiny.model.to(DEVICE), tiny.processor, name=family)
    steps = RecordedSteps(model.model, places, record) if record else None
    limits = Bounds(**({"new_tokens": NEW_TOKENS, "image_pixels": pixels} | bounds))
    tagger = VlmTagger(model, load_handbook(), 2, limits, guards=Guards(evidence=False), steps=steps)
    if not record:
        tagger._steps = None
    return tagger


def note(number: int, title: str) -> NoteEvent:
    return NoteEvent(
        type="note.published", note_id=f"n{number}", author_id="a", occurred_at=1, published_at=1, title=title, category="shoes"
    )


NOTES = [note(number, title) for number, title in enumerate(TITLES)]
PICTURE = np.random.default_rng(1).integers(0, 255, (90, 60, 3), dtype=np.uint8)
MEDIA = [NoteMedia([SeenImage(PICTURE, "image", 0)]), NoteMedia(), NoteMedia([SeenImage(PICTURE[:50], "image", 0)] * 2), NoteMedia()]


def written(tagger: VlmTagger, numbers: list[int]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    asked = [tagger._ask(NOTES[number], MEDIA[number]) for number in numbers]
    return [(one.text, one.log_probabilities) for one in tagger._generate([one for one in asked if one])]


def assert_same(ours: list[tuple[str, np.ndarray[Any, Any]]], theirs: list[tuple[str, np.ndarray[Any, Any]]]) -> None:
    assert [text for text, _ in ours] == [text for text, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_steps_write_what_steps_launched_one_by_one_write(family: str) -> None:
    record = Recorder()
    ours, plain = make(family, record), make(family)
    for numbers in ([0, 1, 2, 3], [1], [3, 2, 1, 0], [3], [0, 1]):
        assert_same(written(ours, numbers), written(plain, numbers))
    assert record.count == 3, "once for each number of rows"


def test_few_caches_are_kept_and_the_latest_always() -> None:
    steps = RecordedSteps(tiny_qwen.__wrapped__().model, 2048, Recorder())
    first = steps.arguments(1, 700)["past_key_values"]
    assert first.max_cache_len == 768
    assert steps.arguments(1, 513)["past_key_values"] is first
    assert steps.arguments(2, 600)["past_key_values"].max_cache_len == 768  # 768 + 1536 places are too many
    assert steps.arguments(1, 700)["past_key_values"] is not first
    assert steps.arguments(9, 4000)["past_key_values"].max_cache_len == 4096
    assert not steps.free(), "only the latest was kept"


def test_where_steps_cannot_be_recorded_they_are_launched_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    record = Recorder()
    record.failing.append(RuntimeError("operation not permitted when stream is capturing"))
    ours, plain = make("qwen", record), make("qwen")
    with caplog.at_level(logging.WARNING, "models.vlm_steps"):
        assert_same(written(ours, [0, 1]), written(plain, [0, 1]))
    assert "not permitted" in caplog.text
    caplog.clear()
    assert_same(written(ours, [0, 1]), written(plain, [0, 1]))
    assert record.count == 0 and not caplog.records


def test_caches_of_earlier_batches_make_room_before_a_batch_is_halved() -> None:
    record = Recorder()
    ours, plain = make("qwen", record), make("qwen")
    expected = [answer.tags for answer in plain.tag(NOTES, MEDIA)]
    ours.tag(NOTES[:1], MEDIA[:1])
    record.failing.append(torch.OutOfMemoryError("out of memory"))
    assert [answer.tags for answer in ours.tag(NOTES, MEDIA)] == expected
    assert ours._fits == 16 and record.count == 2
    ours._steps.free()  # type: ignore[union-attr]
    record.failing.append(torch.OutOfMemoryError("out of memory"))
    assert [answer.tags for answer in ours.tag(NOTES, MEDIA)] == expected
    assert ours._fits == 2
    ours._steps.free()  # type: ignore[union-attr]
    record.failing.append(torch.OutOfMemoryError("out of memory"))
    with pytest.raises(PoisonBatch, match="n3 alone does not fit"):
        ours.tag(NOTES[3:], MEDIA[3:])
