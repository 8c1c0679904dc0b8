"""Samples of the simulated community: true where the teacher is, wrong as stated where it errs, drawn once."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.answers import parse_answer
from models.handbook import load_handbook
from offline.demo_models import vlm_pictures
from offline.simulate.notes import Community
from offline.simulate.told import told
from offline.simulate.truth import truth_by_note
from offline.tag_data.cli import tag_data
from offline.tag_data.erring_teacher import VAGUE, ErringTeacher
from offline.tag_data.samples import answer_text, media_of, read_samples
from offline.tag_data.simulated import Plan, simulated_samples, write_simulated

HANDBOOK = load_handbook()
COMMUNITY = Community(7)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawn")


def test_samples_hold_what_the_truth_tells_and_can_be_opened(tmp_path: Path, drawn: Path) -> None:
    counts = write_simulated(Plan(notes=6), tmp_path, drawn)
    samples = list(read_samples(tmp_path / "samples.jsonl"))
    truths = truth_by_note(tmp_path / "truth.jsonl")
    assert counts["notes"] == len(samples) == len(truths) == 6
    assert counts["pictures"] == sum(len(one.pictures) for one in samples) > 0
    for sample in samples:
        truth = truths[sample.note.note_id]
        assert {tag.text for tag in sample.tags} <= set(truth.tags())
        media = media_of(sample, tmp_path)
        assert len(media.images) == len(truth.images) + len(truth.shots)
        assert [one.utterance.text for one in media.speech] == [truth.spoken] * bool(truth.spoken)
        read = parse_answer(answer_text(sample.tags), HANDBOOK, sample.note.category, 12).tags
        assert [(tag.text, tag.dimension, tag.source) for tag in read] == [(tag.text, tag.dimension, tag.source) for tag in sample.tags]


def test_a_sample_is_the_same_whichever_others_are_asked_for_and_pictures_are_drawn_once(
    tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [sample for sample, _ in simulated_samples(Plan(notes=6, noise=0.6), tmp_path, drawn)]
    monkeypatch.setattr(vlm_pictures, "draw_view", None)
    later = list(simulated_samples(Plan(notes=3, first=3, noise=0.6), tmp_path, drawn))
    assert [sample for sample, _ in later] == whole[3:]
    assert all(sample.note.note_id == truth.note_id for sample, truth in later)


def test_the_teacher_errs_as_stated() -> None:
    noise = 0.4
    teacher = ErringTeacher(COMMUNITY, noise)
    true_count = missing = vague = invented = 0
    for made in COMMUNITY.notes(250):
        truth = made.truth
        true = told(truth, made.event, truth.spoken, ["image", "video"])
        said = teacher.tags(truth, true)
        assert said == teacher.tags(truth, true), "it says the same when asked again"
        assert len({tag.text.casefold() for tag in said}) == len(said) > 0
        texts = {tag.text for tag in said}
        true_count += len(true)
        missing += sum(tag.text not in texts for tag in true)
        vague += sum(tag.text in VAGUE[truth.language] for tag in said)
        invented += sum(tag.text not in {*truth.tags(), *VAGUE[truth.language]} for tag in said)
    kept = true_count - missing
    assert missing / true_count == pytest.approx(noise / 2, abs=0.04)
    assert vague / kept == pytest.approx(noise / 4, abs=0.03)
    assert invented / kept == pytest.approx(noise / 4, abs=0.04)


def test_without_noise_it_tells_the_truth_and_with_it_the_order_suffers() -> None:
    moved = 0
    for made in COMMUNITY.notes(30):
        true = told(made.truth, made.event, "", [])
        assert ErringTeacher(COMMUNITY, 0).tags(made.truth, true) == true
        kept = [tag for tag in ErringTeacher(COMMUNITY, 0.5).tags(made.truth, true) if tag in true]
        moved += kept != [tag for tag in true if tag in kept]
    assert moved > 10


def test_no_vague_tag_is_ever_true() -> None:
    for made in COMMUNITY.notes(300):
        assert not set(made.truth.all_tags()) & {*VAGUE["en"], *VAGUE["zh"]}


def test_the_command(tmp_path: Path, drawn: Path) -> None:
    out = tmp_path / "data"
    arguments = ["simulated", "--notes", "2", "--categories", "shoes", "--speech", "none", "--processes", "1", "--drawn", str(drawn)]
    result = CliRunner().invoke(tag_data, [*arguments, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["notes"] == 2
    samples = list(read_samples(out / "samples.jsonl"))
    assert [one.note.category for one in samples] == ["shoes"] * 2 and not any(one.speech for one in samples)
    refused = CliRunner().invoke(tag_data, [*arguments[:3], "--categories", "shoe", "--out", str(out)])
    assert refused.exit_code == 2 and "dressing" in refused.output
