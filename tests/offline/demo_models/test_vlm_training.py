"""The demo model's data and training at a tiny size: truth as told, loss that falls, a saved model that answers the same."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from models.answers import parse_answer
from models.handbook import load_handbook
from models.roles import SeenImage
from models.vlm_model import open_vlm
from models.vlm_tagger import Bounds, VlmTagger
from offline.demo_models import vlm_pictures, vlm_train
from offline.demo_models.cli import demo_models
from offline.demo_models.vlm_build import Size
from offline.demo_models.vlm_data import Plan, media_of, open_pictures, prepare
from offline.demo_models.vlm_rows import read_rows
from offline.demo_models.vlm_train import Training, train
from offline.simulate.notes import Community
from offline.simulate.told import plain_speech, told
from offline.tag_data.samples import answer_text
from schemas.errors import BadSetting, MissingPrerequisite

SIZE = Size(vocabulary=1024, width=64, layers=2, inner=96, heads=2, key_heads=1, sight=32, sight_layers=1, sight_heads=2)
PLAN = Plan(seeds=[7], notes=40, drawn=8, held_out=[(7, 200_000, 3)])
HANDBOOK = load_handbook()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vlm")
    prepare(directory / "data", PLAN, directory / "drawn", size=SIZE)
    return directory / "data"


def test_what_is_told_is_what_the_given_sources_tell() -> None:
    for made in Community(7).notes(120):
        event, truth = made
        for spoken, seen in (("", []), (truth.spoken, ["image", "video"])):
            given = {"title", "body", "product", *(["audio"] if spoken else []), *seen}
            tags = told(truth, event, spoken, seen)
            wanted = [one.text(truth.language) for one in truth.attributes if set(one.sources) & given]
            assert sorted(tag.text for tag in tags) == sorted(set(wanted))
            read = parse_answer(answer_text(tags), HANDBOOK, truth.category, 12).tags
            assert [(tag.text, tag.dimension, tag.source) for tag in read] == [
                (tag.text, tag.dimension, tag.source) for tag in tags[:12]
            ], "an answer is read as it was meant"


def test_speech_without_signs() -> None:
    assert plain_speech("Hi, it's 2 well-worn Shoes!") == "hi it's 2 well-worn shoes"
    assert plain_speech("大家好，我来说。") == "大家好 我来说"


def test_the_committed_model_is_judged_on_notes_of_a_community_it_never_saw(tmp_path: Path) -> None:
    called = partial(CliRunner().invoke, demo_models)
    result = called(["vlm-evaluate", "--notes", "99:0:6", "--notes", "7:200000:4", "--pictures", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["model"], figures["notes"]) == ("demo", 10) and figures["f1"] >= 0.8
    assert {"f1_community_7", "f1_community_99", "f1_words_alone"} <= figures.keys()
    assert len(list((tmp_path / "99").glob("*.webp"))) > 0
    refused = called(["vlm-evaluate", "--notes", "99:0:none"])
    assert refused.exit_code == 2 and "write 123:0:100" in refused.output


def test_prepared_data(data: Path) -> None:
    facts = json.loads((data / "facts.json").read_text())
    assert facts["rows"] == 40 and facts["held_out"] == 3 and facts["with_pictures"] >= 5
    side = int(facts["image_pixels"] ** 0.5) // 32
    model = json.loads((data / "model" / "tokenizer.json").read_text())
    image = next(one["id"] for one in model["added_tokens"] if one["content"] == "<|image_pad|>")
    rows = read_rows(data, image, side)
    pictures = open_pictures(data / "pictures.npz")
    assert len(pictures) == facts["pictures"] and pictures[0].shape == (160, 160, 3)
    assert {len(row.pictures) for row in rows} > {0}
    for row in rows:
        assert (row.ids == image).sum() == len(row.pictures) * side * side
        assert 0 < row.answer < len(row.ids) == row.positions.shape[1]
        assert all(number < len(pictures) for number in row.pictures)


def test_a_picture_is_drawn_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (data / "facts.json").read_text()
    monkeypatch.setattr(vlm_pictures, "picture", None)
    monkeypatch.setattr(vlm_pictures, "draw_view", None)
    prepare(data, PLAN, data.parent / "drawn", size=SIZE)
    assert (data / "facts.json").read_text() == before


def test_training_learns_resumes_and_saves_what_it_learned(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"batch": 8, "warm_up": 5, "rate": 4e-3, "judge_at": (), "save_every": 15}
    lines: list[str] = []
    torch.set_num_threads(1)
    figures = train(data, tmp_path / "whole", Training(steps=30, **settings), lines.append)
    first = next(float(line.split()[3].rstrip(",")) for line in lines if line.startswith("step 1:"))
    assert figures["last_loss"] < 0.85 * first
    assert figures["held_out"]["notes"] == 3
    learn = vlm_train._Run.learn

    def killed(run: Any, *given: Any) -> None:
        if run.step == 20:
            raise KeyboardInterrupt
        learn(run, *given)

    monkeypatch.setattr(vlm_train._Run, "learn", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "half", Training(steps=30, **settings), lines.append)
    monkeypatch.setattr(vlm_train._Run, "learn", learn)
    resumed = train(data, tmp_path / "half", Training(steps=30, **settings), lines.append, resume=True)
    assert "goes on from step 15" in lines
    assert resumed["version"] == figures["version"], "the same weights as without the interruption"
    assert (tmp_path / "whole" / "model" / "model.safetensors").stat().st_size < 1_000_000
    notes = [Community(7).note(number).event for number in range(3)]
    pixels = open_pictures(data / "pictures.npz")[0]
    media = [media_of("", [SeenImage(np.asarray(pixels), "image", 0)]) for _ in notes]
    answers = [
        VlmTagger(open_vlm(str(tmp_path / "whole" / "model"), "cpu", "float32"), HANDBOOK, 3, Bounds(new_tokens=60)).tag(notes, media)
        for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_what_does_not_fit_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite, match="vlm-data"):
        train(tmp_path, tmp_path / "out", Training(), print)
    facts = json.loads((data / "facts.json").read_text())
    (tmp_path / "facts.json").write_text(json.dumps(facts | {"handbook": "1-old"}))
    with pytest.raises(BadSetting, match="prepared with handbook 1-old"):
        train(tmp_path, tmp_path / "out", Training(), print)


def test_commands_say_what_is_wrong() -> None:
    run = CliRunner()
    assert run.invoke(demo_models, ["vlm-data", "--out", "x", "--seeds", "seven"]).exit_code == 2
    refused = run.invoke(demo_models, ["vlm", "--data", "x", "--out", "y", "--steps", "0"])
    assert refused.exit_code == 2 and "--minutes" in refused.output
    assert all("Example:" in run.invoke(demo_models, [name, "--help"]).output for name in ("vlm", "vlm-data"))
