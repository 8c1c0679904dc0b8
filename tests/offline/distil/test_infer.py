"""Inference over samples: order, resumption, what is not shown."""

from pathlib import Path
from typing import Any

import pytest

from models.vlm_tagger import Bounds, VlmTagger
from offline.distil.infer import infer, without_modality
from offline.distil.predictions import read_predictions
from offline.tag_data.samples import read_samples
from schemas.errors import BadSetting
from tests.models.tiny_vlm import tiny_qwen
from tests.offline.distil.tiny_samples import IMAGE_PIXELS, samples_in

BOUNDS = Bounds(batch=1, new_tokens=30, image_pixels=IMAGE_PIXELS)


def test_a_killed_run_goes_on_and_is_bound_to_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = samples_in(tmp_path / "data", 9)
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    assert infer(tiny_qwen(), data, whole, guards=False, bounds=BOUNDS) == 9
    tag, calls = VlmTagger.tag, 0

    def killed(self: VlmTagger, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return tag(self, *given)

    monkeypatch.setattr(VlmTagger, "tag", killed)
    with pytest.raises(KeyboardInterrupt):
        infer(tiny_qwen(), data, out, guards=False, bounds=BOUNDS)
    assert not out.exists()
    part = out.with_name("out.jsonl.part")
    with part.open("ab") as file:
        file.write(b'{"note_id":"torn')
    said: list[int] = []
    assert infer(tiny_qwen(), data, out, guards=False, bounds=BOUNDS, say=said.append) == 9
    assert said == [4, 8, 9] and out.read_bytes() == whole.read_bytes()
    assert [one.note_id for one in read_predictions(out)] == [one.note.note_id for one in read_samples(data)]
    with pytest.raises(BadSetting, match="other options"):
        infer(tiny_qwen(), data, out, guards=False, bounds=BOUNDS, without=frozenset({"text"}))


def test_each_modality_can_be_taken_away_alone(tmp_path: Path) -> None:
    sample = next(one for one in read_samples(samples_in(tmp_path)) if one.pictures and one.speech)
    seen = {name: without_modality(sample, frozenset({name})) for name in ("text", "images", "products", "speech")}  # type: ignore[arg-type]
    for name, one in seen.items():
        gone = {"text": not one.note.title + one.note.body, "images": not one.pictures}
        gone |= {"products": not one.note.products, "speech": not one.speech}
        assert gone == {other: other == name for other in gone}
        assert one.tags == sample.tags
    assert without_modality(sample, frozenset()) == sample
