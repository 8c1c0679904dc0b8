"""Supervised fine-tuning at tiny size: what is learned from, what the loss looks at, what comes out, what a kill leaves."""

import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from models.handbook import load_handbook
from models.prompts import Prompts
from models.vlm_model import VlmModel, open_vlm
from models.vlm_tagger import Bounds, VlmTagger
from offline.distil import sft as sft_module
from offline.distil.collate import IGNORED, Collator, dataset_of, end_of
from offline.distil.recipes import read_recipe, recipe_names
from offline.distil.rows import RowMaker
from offline.distil.sft import AnswerTrainer, sft
from offline.distil.training import OrderByLength, last_checkpoint, open_base
from offline.tag_data.samples import answer_text, media_of, read_samples, write_samples
from schemas.errors import BadSetting
from tests.models.tiny_vlm import tiny_intern, tiny_intern3, tiny_qwen
from tests.offline.distil.tiny_samples import IMAGE_PIXELS, note, samples_in, saved, silent, training

FAMILIES = {"qwen": tiny_qwen, "intern": tiny_intern, "intern3": tiny_intern3}
TAGGED = Bounds(new_tokens=40, image_pixels=IMAGE_PIXELS)


def maker(model: VlmModel, directory: Path, **options: int) -> RowMaker:
    prompts = Prompts(load_handbook(), "compact", 10, model.specials)
    return RowMaker(model, prompts, directory, **({"image_pixels": IMAGE_PIXELS, "images": 8, "max_tokens": 2000} | options))


def written(model: VlmModel, data: Path) -> list[list[int]]:
    """Token ids that the model writes of some samples, pictures and all."""
    rows = maker(model, data.parent).rows((one, [one.tags]) for one in read_samples(data)).taken[1:4]
    pictures = [[image.pixels for image in media_of(one, data.parent).images] for one in list(read_samples(data))[1:4]]
    inputs = model.inputs([row.prompt for row in rows], pictures, IMAGE_PIXELS)
    made = model.model.generate(**inputs, do_sample=False, max_new_tokens=24, eos_token_id=model.stops, pad_token_id=model.pad)
    ids: list[list[int]] = made[:, inputs["input_ids"].shape[1] :].tolist()
    return ids


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_what_the_tagger_sends_and_the_loss_looks_at_the_answer_alone(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FAMILIES[family]()
    path = samples_in(tmp_path)
    samples = list(read_samples(path))
    rows = maker(model, tmp_path).rows((one, [one.tags]) for one in samples).taken
    examples = dataset_of(rows).to_list()
    batch = Collator(model, tmp_path, IMAGE_PIXELS, 1 << 20)(examples)
    sent: list[dict[str, torch.Tensor]] = []

    def caught(**inputs: Any) -> torch.Tensor:
        sent.append(inputs)
        raise KeyboardInterrupt

    monkeypatch.setattr(model.model, "generate", caught)
    tagger = VlmTagger(model, load_handbook(), bounds=TAGGED)
    tagger._prompts = Prompts(load_handbook(), "compact", 10, model.specials)
    for number, sample in enumerate(samples):
        with pytest.raises(KeyboardInterrupt):
            tagger.tag([sample.note], [media_of(sample, tmp_path)])
        prompt = sent[-1]["input_ids"][0].tolist()
        answer = [*model.tokenizer(answer_text(sample.tags), add_special_tokens=False)["input_ids"], end_of(model)]
        real = batch["input_ids"][number][batch["attention_mask"][number] == 1].tolist()
        assert real == prompt + answer and len(real) == rows[number].length
        learned = batch["labels"][number]
        assert learned[learned != IGNORED].tolist() == answer
        assert learned[: len(prompt)].eq(IGNORED).all() and learned[len(real) :].eq(IGNORED).all()
    pictures = [one["pixel_values"] for one in sent if "pixel_values" in one]
    assert torch.equal(torch.cat(pictures), batch["pixel_values"]), "training must see the pictures as tagging does"


def test_what_is_prepared_is_kept_only_while_there_is_room(tmp_path: Path) -> None:
    model = tiny_qwen()
    rows = maker(model, tmp_path).rows((one, [one.tags]) for one in read_samples(samples_in(tmp_path))).taken
    examples = dataset_of(rows).to_list()
    kept, none = (Collator(model, tmp_path, IMAGE_PIXELS, room) for room in (1 << 20, 0))
    first, again, fresh = kept(examples), kept(examples), none(examples)
    assert all(torch.equal(first[name], again[name]) and torch.equal(first[name], fresh[name]) for name in fresh)
    assert len(kept._kept) == len(rows) and not none._kept


def test_what_cannot_be_learned_is_left_out_and_counted(tmp_path: Path) -> None:
    model = tiny_qwen()
    samples = list(read_samples(samples_in(tmp_path)))
    long = msgspec.structs.replace(samples[0], note=note(20, title="x", body="word " * 140))
    odd = [
        msgspec.structs.replace(samples[0], note=note(21, category=None)),
        msgspec.structs.replace(samples[0], tags=[]),
        msgspec.structs.replace(samples[0], note=note(22), speech=[]),
    ]
    every = maker(model, tmp_path).rows((one, [one.tags]) for one in [*samples, long])
    bound = max(row.length for row in every.taken[:-1])
    assert every.taken[-1].length > bound
    rows = maker(model, tmp_path, max_tokens=bound).rows((one, [one.tags]) for one in [*samples, long, *odd])
    assert rows.taken == every.taken[:-1]
    assert rows.dropped == {"too long": 1, "without category": 1, "without tags": 1, "without content": 1}
    with pytest.raises(BadSetting, match="too long"):
        maker(model, tmp_path, max_tokens=3).rows((one, [one.tags]) for one in samples)


@pytest.mark.parametrize(("family", "tuning", "fall"), [("qwen", "full", 0.8), ("intern", "lora", 0.95), ("intern3", "full", 0.8)])
def test_the_loss_falls_and_the_model_reloads_as_it_was(
    family: str, tuning: str, fall: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = training(tuning=tuning, learning_rate=1e-2, save_steps=99)
    base = saved(FAMILIES[family](), tmp_path / "base")
    data = samples_in(tmp_path / "data")
    trained: list[VlmModel] = []
    monkeypatch.setattr(sft_module, "open_base", lambda *given: trained.append(open_base(*given)) or trained[0])
    held = sft(base, data, tmp_path / "run", options, silent)
    found = held["figures"]
    assert found["loss"]["last"] < fall * found["loss"]["first"] and found["updates"] == 8
    again = open_vlm(str(tmp_path / "run" / "model"), "cpu")
    assert again.card is not None and again.card.version == found["version"] and again.card.style == "compact"
    live = VlmModel(trained[0].model.eval(), trained[0].processor, name="live")
    wrote = [written(model, data) for model in (live, again, open_vlm(base, "cpu"))]
    assert wrote[0] == wrote[1] != wrote[2]
    assert sft(base, data, tmp_path / "run", options, silent)["figures"] == found
    with pytest.raises(BadSetting, match="other options"):
        sft(base, data, tmp_path / "run", training(tuning=tuning), silent)


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved(tiny_qwen(), tmp_path / "base")
    data = samples_in(tmp_path / "data")
    sft(base, data, tmp_path / "whole", training(), silent)
    step = AnswerTrainer.training_step
    steps = 0

    def killed(self: Any, *args: Any, **options: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise KeyboardInterrupt
        return step(self, *args, **options)

    monkeypatch.setattr(AnswerTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        sft(base, data, tmp_path / "killed", training(), silent)
    monkeypatch.undo()
    checkpoints = tmp_path / "killed" / "checkpoints"
    assert not (tmp_path / "killed" / "model").exists()
    torn = checkpoints / "checkpoint-5"
    shutil.copytree(checkpoints / "checkpoint-3", torn)
    (torn / "trainer_state.json").unlink()
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-3"
    said: list[str] = []
    sft(base, data, tmp_path / "killed", training(), said.append)
    assert "goes on from checkpoint-3" in said
    whole, killed_one = (open_vlm(str(tmp_path / run / "model"), "cpu").model.state_dict() for run in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed_one[name]) for name in whole)


def test_a_batch_without_pictures_after_one_with_them_has_the_loss_it_has_alone(tmp_path: Path) -> None:
    model = tiny_qwen()
    rows = maker(model, tmp_path).rows((one, [one.tags]) for one in read_samples(samples_in(tmp_path))).taken
    examples = dataset_of(rows).to_list()
    collate = Collator(model, tmp_path, IMAGE_PIXELS, 0)
    plain, seen = collate(examples[:1]), collate(examples[2:4])
    assert "pixel_values" not in plain and "pixel_values" in seen
    with torch.no_grad():
        alone = model.model(**plain).loss
        model.model(**seen)
        assert torch.equal(model.model(**plain).loss, alone)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_blank_picture_changes_no_loss_and_runs_the_vision_tower(family: str, tmp_path: Path) -> None:
    """What a batch without pictures is given where several processes train: gradients of the tower are there, and 0."""
    model = FAMILIES[family]()
    rows = maker(model, tmp_path).rows((one, [one.tags]) for one in read_samples(samples_in(tmp_path))).taken
    examples = dataset_of(rows).to_list()
    plain, looking = (Collator(model, tmp_path, IMAGE_PIXELS, 0, always_look=look)(examples[:2]) for look in (False, True))
    assert "pixel_values" not in plain and "pixel_values" in looking
    tower = [value for name, value in model.model.named_parameters() if "visual" in name or "vision" in name]
    found: list[torch.Tensor] = []
    for batch in (plain, looking):
        model.model.zero_grad()
        loss = model.model(**batch).loss
        loss.backward()
        found.append(loss.detach())
        assert {value.grad is None for value in tower} == {batch is plain}
    assert all(not value.grad.any() for value in tower)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)
    model.model.zero_grad()
    seen = Collator(model, tmp_path, IMAGE_PIXELS, 0, always_look=True)(examples[2:4])
    assert all(torch.equal(value, seen[name]) for name, value in Collator(model, tmp_path, IMAGE_PIXELS, 0)(examples[2:4]).items())


def test_an_epoch_has_every_sample_once_and_updates_of_like_length() -> None:
    lengths = np.random.default_rng(1).integers(10, 500, 200).tolist()
    order = OrderByLength(lengths, 8, 3)
    first, same = list(order), list(order)
    order.set_epoch(1)
    other = list(order)
    assert first == same != other and sorted(first) == sorted(other) == list(range(200))
    spread = np.mean([np.ptp([lengths[one] for one in first[at : at + 8]]) for at in range(0, 200, 8)])
    assert spread < 0.3 * 490


def test_every_recipe_is_read_and_has_the_figures_of_the_paper() -> None:
    assert len(recipe_names()) == 5
    for name in recipe_names():
        recipe = read_recipe(name)
        assert (recipe.sft.learning_rate, recipe.sft.epochs, recipe.dpo.learning_rate, recipe.dpo.epochs) == (1e-4, 3, 5e-6, 1)
        assert recipe.model.startswith("OpenGVLab/" if name.startswith("intern") else "Qwen/")


@pytest.mark.parametrize("family", ["qwen", "intern"])
def test_qlora_learns_over_weights_of_four_bits(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = saved(FAMILIES[family](), tmp_path / "base")
    data = samples_in(tmp_path / "data")
    trained: list[VlmModel] = []
    monkeypatch.setattr(sft_module, "open_base", lambda *given: trained.append(open_base(*given)) or trained[0])
    held = sft(base, data, tmp_path / "run", training(tuning="qlora", learning_rate=1e-2, save_steps=99), silent)
    loss = held["figures"]["loss"]
    assert loss["last"] < 0.95 * loss["first"]
    kinds = {type(module).__name__ for module in trained[0].model.modules()}
    assert "Linear4bit" in kinds
    frozen = [name for name, value in trained[0].model.named_parameters() if not value.requires_grad]
    assert all("lora_" in name for name, value in trained[0].model.named_parameters() if value.requires_grad) and frozen
    learned, before = (open_vlm(place, "cpu") for place in (str(tmp_path / "run" / "model"), base))
    assert learned.model.state_dict().keys() == before.model.state_dict().keys(), "what is saved is whole, not four bits and an adapter"
    rows = maker(before, data.parent).rows((one, [one.tags]) for one in read_samples(data)).taken
    batch = Collator(before, data.parent, IMAGE_PIXELS, 0)(dataset_of(rows).to_list())
    with torch.no_grad():
        after, untaught = (float(one.model(**batch).loss) for one in (learned, before))
    assert after < 0.95 * untaught, "the adapter is in the weights that are saved"


def test_quantised_tuning_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BadSetting, match=r"pip install 'tagstream\[qlora\]'"):
        open_base("nowhere", training(tuning="qlora"))


def test_samples_that_are_written_anew_are_another_run(tmp_path: Path) -> None:
    base = saved(tiny_qwen(), tmp_path / "base")
    data = samples_in(tmp_path / "data")
    sft(base, data, tmp_path / "run", training(limit=2, epochs=1), silent)
    write_samples(data, list(read_samples(data))[:3])
    with pytest.raises(BadSetting, match="data_digest"):
        sft(base, data, tmp_path / "run", training(limit=2, epochs=1), silent)
