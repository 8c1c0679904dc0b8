"""Preference pairs and DPO at tiny size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from click.testing import CliRunner

from models.vlm_model import VlmModel, open_vlm
from offline.distil import dpo as dpo_module
from offline.distil.collate import Collator, dataset_of
from offline.distil.dpo import PairTrainer, dpo, watch
from offline.distil.dpo_command import dpo_pairs_command
from offline.distil.pairs import Pair, make_pairs, read_pairs, swapped, write_pairs
from offline.distil.predictions import Prediction
from offline.distil.rows import Row
from offline.distil.training import open_base
from offline.judge.arithmetic import Verdict
from offline.judge.dual import NEGATED
from offline.judge.roles import Answered, Attributes, Comparison
from offline.tag_data.samples import Sample, Told, read_samples
from schemas.errors import BadSetting, MissingPrerequisite
from schemas.events import Evidence, Tag
from tests.models.tiny_vlm import tiny_intern, tiny_qwen
from tests.offline.distil.tiny_samples import IMAGE_PIXELS, samples_in, saved, silent, training

WORSE = [Told("red sandals", "shoe_type", "title")]


class Scripted:
    """By note: the verdict on the answer as it stands first, and the one given in the swapped order. Counts what it was asked."""

    name = "scripted"
    version = "scripted-1"

    def __init__(self, verdicts: dict[str, tuple[Verdict | None, Verdict | None]]) -> None:
        self.verdicts = verdicts
        self.asked: list[Comparison] = []

    def score(self, asked: Sequence[Answered]) -> list[Attributes | None]:
        raise NotImplementedError

    def compare(self, asked: Sequence[Comparison]) -> list[Verdict | None]:
        self.asked += asked
        return [self.verdicts[one.sample.note.note_id][0 if list(one.b) == one.sample.tags else 1] for one in asked]


def predicted(path: Path, samples: Sequence[Sample]) -> Path:
    tag = Tag(text="red sandals", dimension="shoe_type", rank=1, confidence=1, evidence=[Evidence(source="title")])
    lines = [msgspec.json.encode(Prediction(one.note.note_id, "shoes", [tag])) for one in samples]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def pairs_in(directory: Path) -> Path:
    data = samples_in(directory / "data")
    write_pairs(directory / "pairs", [Pair(one, WORSE, "judged", -2) for one in read_samples(data)], data.parent)
    return directory / "pairs"


def test_answers_are_pairs_where_both_orders_together_find_them_inferior(tmp_path: Path) -> None:
    data = samples_in(tmp_path / "pool", 6)
    samples = list(read_samples(data))
    script: dict[str, tuple[Verdict | None, Verdict | None]] = {
        "n0": ("A<<B", "A>B"),  # -2 and -1: inferior
        "n1": ("A<B", "A<B"),  # -1 and +1: the judge likes what stands second
        "n2": ("A<B", None),  # -1 and invalid: inferior
        "n3": (None, None),
        "n4": ("A>B", "A<B"),  # better
        "n5": ("A=B", "A>B"),  # 0 and -1: inferior
    }
    judge = Scripted(script)
    predictions = predicted(tmp_path / "predictions.jsonl", samples)
    held = make_pairs(judge, data, predictions, tmp_path / "out")
    pairs = list(read_pairs(tmp_path / "out"))
    assert [(pair.sample.note.note_id, pair.points) for pair in pairs] == [("n0", -3), ("n2", -1), ("n5", -1)]
    assert all(pair.rejected == WORSE and pair.sample == samples[int(pair.sample.note.note_id[1:])] for pair in pairs)
    assert all((tmp_path / "out" / one.file).is_file() for pair in pairs for one in pair.sample.pictures)
    assert any(pair.sample.pictures for pair in pairs)
    assert held["pairs"] == {"judged": 3, "swapped": 0} and held["without_valid_verdict"] == 1 and held["invalid_verdicts"] == 3
    assert held["points"] == {"-3": 1, "-1": 2, "0": 1, "2": 1}
    valid = [one for one, _ in script.values() if one] + [NEGATED[two] for _, two in script.values() if two]
    assert held["verdicts"] == {level: valid.count(level) for level in NEGATED}
    asked = len(judge.asked)
    assert asked == 12 and make_pairs(judge, data, predictions, tmp_path / "out", at_most=-3)["pairs"]["judged"] == 1
    assert len(judge.asked) == asked, "what was judged is not judged again"
    with pytest.raises(BadSetting, match="--at-most"):
        make_pairs(judge, data, predictions, tmp_path / "out", at_most=-4)


def test_a_swapped_attribute_contradicts_and_is_of_its_dimension(tmp_path: Path) -> None:
    samples = list(read_samples(samples_in(tmp_path)))
    others = [Told("ankle boots", "shoe_type", "title"), Told("跑鞋", "shoe_type", "title"), Told("toe box", "shoe_type", "body")]
    samples.append(msgspec.structs.replace(samples[0], tags=others))
    made = list(swapped(samples, 1.0, 7))
    assert [pair.sample for pair in made] == samples[:-1], "the last one's values are its own or stand in its words"
    for pair in made:
        changed = [(old, new) for old, new in zip(pair.sample.tags, pair.rejected, strict=True) if old != new]
        [(old, new)] = changed
        assert (old.text, new.text) == ("running shoes", "ankle boots"), "not the note's words, not another language, another dimension"
        assert (new.dimension, new.source) == (old.dimension, old.source)
    assert not list(swapped(samples, 0.0, 7)) and made == list(swapped(samples, 1.0, 7))


def test_a_batch_holds_the_chosen_answers_and_then_the_rejected_ones(tmp_path: Path) -> None:
    model = tiny_qwen()
    rows = [Row("n", [], "one prompt", ["[]", '[{"text":"a"}]'], 99), Row("m", [], "another", ["[1,2]", "[]"], 99)]
    batch = Collator(model, tmp_path, IMAGE_PIXELS, 0)(dataset_of(rows).to_list())
    answers = [model.tokenizer.decode(ids[mask == 1]) for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)]
    end = model.tokenizer.eos_token
    assert answers == ["[]" + end, "[1,2]" + end, '[{"text":"a"}]' + end, "[]" + end]


@pytest.mark.parametrize(("family", "tuning"), [("qwen", "full"), ("intern", "lora"), ("intern", "full")])
def test_dpo_raises_the_margin_and_leaves_the_reference_as_it_was(
    family: str, tuning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = saved({"qwen": tiny_qwen, "intern": tiny_intern}[family](), tmp_path / "sft")
    pairs = pairs_in(tmp_path)
    opened: list[VlmModel] = []
    trainers: list[PairTrainer] = []
    monkeypatch.setattr(dpo_module, "open_base", lambda *given: opened.append(open_base(*given)) or opened[0])
    plain = dpo_module.run
    monkeypatch.setattr(dpo_module, "run", lambda trainer, *given: trainers.append(trainer) or plain(trainer, *given))
    weight = 0.2 if family == "qwen" else 0.0
    held = dpo(Path(base), pairs, tmp_path / "run", training(tuning=tuning, learning_rate=2e-3, sft_weight=weight, save_steps=99), silent)
    found = held["figures"]
    assert found["margin"]["first"] == 0 and found["margin"]["last"] > 0.05 and found["accuracy"] == 1
    before, after = (open_vlm(str(path), "cpu") for path in (base, tmp_path / "run" / "model"))
    assert any(not torch.equal(old, new) for old, new in zip(before.model.parameters(), after.model.parameters(), strict=True))
    kept: Any = trainers[0].ref_model if tuning == "full" else trainers[0].model.unload()
    assert (trainers[0].ref_model is None) == (tuning == "lora")
    reference = kept.state_dict()
    assert all(torch.equal(value, reference[name]) for name, value in before.model.state_dict().items())
    assert after.card is not None and after.card.version == found["version"]


def test_a_killed_run_of_dpo_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(saved(tiny_qwen(), tmp_path / "sft"))
    pairs = pairs_in(tmp_path)
    options = training(epochs=1, save_steps=2)
    dpo(base, pairs, tmp_path / "whole", options, silent)
    step, steps = PairTrainer.training_step, iter(range(9))

    def killed(self: Any, *args: Any, **given: Any) -> torch.Tensor:
        if next(steps) == 3:
            raise KeyboardInterrupt
        return step(self, *args, **given)

    monkeypatch.setattr(PairTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        dpo(base, pairs, tmp_path / "killed", options, silent)
    monkeypatch.undo()
    held = dpo(base, pairs, tmp_path / "killed", options, silent)
    whole, killed_one = (open_vlm(str(tmp_path / run / "model"), "cpu").model.state_dict() for run in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed_one[name]) for name in whole)
    assert held["figures"]["margin"]["first"] == 0, "what was logged before the kill counts"


@pytest.mark.parametrize(("shift", "fell"), [(-0.2, True), (-0.04, False), (0.3, False)])
def test_a_fall_of_the_chosen_answers_is_said(shift: float, fell: bool) -> None:
    early = {"rewards/margins": 0.0, "rewards/chosen": 0.0, "rewards/rejected": 0.0, "rewards/accuracies": 0.0}
    late = {"rewards/margins": 0.4, "rewards/chosen": shift, "rewards/rejected": shift - 0.4, "rewards/accuracies": 1.0}
    told = watch([early, early, early, late], beta=0.1)
    assert told["chosen"]["fell"] is fell and ("FELL" in told["chosen"]["in_words"]) is fell
    assert told["chosen"]["shift"] == pytest.approx(10 * shift) and told["margin"] == {"first": 0.0, "last": 0.4}


def test_missing_pairs_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite, match="dpo-pairs"):
        dpo(tmp_path, tmp_path / "none", tmp_path / "run", training(), silent)


def test_the_sft_model_and_the_judge_s_are_told_apart(tmp_path: Path) -> None:
    data = samples_in(tmp_path / "pool", 2)
    words = ["--model", str(tmp_path / "none"), "--pool", str(data), "--out", str(tmp_path / "out")]
    words += ["--judge", "endpoint", "--endpoint", "http://127.0.0.1:9/v1", "--judge-model", "reader"]
    failed = CliRunner().invoke(dpo_pairs_command, words)
    assert isinstance(failed.exception, MissingPrerequisite) and "holds no model" in str(failed.exception)
