"""The demo's speech model: what is said and by whom, and the loop that trains on it."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.transcriber.distance import edits, error_rate
from models.transcriber.files import TORCH, speech_files
from offline.simulate.catalogue import load_catalogue
from offline.simulate.notes import SPEAKERS
from offline.simulate.voice import REMEDY, espeak
from offline.speech import training
from offline.speech.batches import Corpus, drawn, heard
from offline.speech.network import PIECES, QUERIES, build, config, corpus, encode, open_pieces, tags, train_pieces
from offline.speech.render import LANGUAGES, RenderSpec, as_banks, as_bytes, files_of, plan, render, sizes
from offline.speech.said import frames, sentences, values, written
from offline.speech.speakers import HELD_OUT, TRAINING, TRIAL, held_out_voice, training_voice, trial_voice
from offline.speech.training import FIGURES, RESUME, TrainSpec, train
from schemas.errors import BadSetting
from tests.models.transcriber.voice import SIZES

SPEC = RenderSpec(voices=2, renders=1, tests=3, trials=2, phrases=4, whole=2)
TINY = TrainSpec(steps=6, batch=3, sizes=SIZES)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / PIECES
    train_pieces(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What ``render`` writes, with noise for voices."""
    data, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(5)
    for job in plan(data, SPEC):
        banks = [draw.integers(0, 160, (int(draw.integers(40, 200)), 80), np.uint8) for _ in job.said]
        clauses, voices = ([list(clause) for clause, _ in job.said], [voice.name for _, voice in job.said])
        import msgspec

        held = {name: np.frombuffer(msgspec.json.encode(value), np.uint8) for name, value in (("clauses", clauses), ("voices", voices))}
        np.savez_compressed(job.path, banks=np.concatenate(banks), starts=np.cumsum([0, *map(len, banks)]), **held)
    return data


def test_the_voices_of_the_test_do_not_train():
    assert not set(HELD_OUT) & set(TRAINING) and set(SPEAKERS) <= {*HELD_OUT, *TRAINING}
    assert not set(TRIAL) & {*HELD_OUT, *TRAINING}
    for language in LANGUAGES:
        trained = {training_voice(language, number, 7).name.split("+")[1] for number in range(200)}
        tested = {held_out_voice(language, number, 7).name.split("+")[1] for number in range(10)}
        tried = {trial_voice(language, number, 7).name.split("+")[1] for number in range(10)}
        assert trained <= set(TRAINING) and tested == set(HELD_OUT) and tried == set(TRIAL)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_of_a_note_is_made_of_known_clauses(language):
    known = set(corpus(language))
    for text in sentences(language, 3, 40):
        clauses = [written(part, language) for part in text.replace("。", ". ").split(". ") if written(part, language)]
        joined = [clause for clause in clauses if clause not in known]
        assert all(", " in text or "，" in text for _ in joined) or not joined, joined


def test_every_phrase_is_dealt_as_often_as_asked(tmp_path):
    spec = RenderSpec(voices=5, renders=3, tests=2, trials=2, phrases=7, whole=3)
    jobs = plan(tmp_path, spec)
    names = ["test-en.npz", "trial-en.npz", "test-zh.npz", "trial-zh.npz", "en-000.npz", "zh-000.npz"]
    assert [job.path.name for job in jobs][:6] == names
    for language in LANGUAGES:
        said = [clause for job in jobs if job.path.name.startswith(f"{language}-") for clause, _ in job.said]
        for value in values(language)[:7]:
            told = {text.format(v=value) for text in frames(language)["say"]}
            assert sum(clause.kind == "say" and clause.text in told for clause in said) == 3
        tests = {clause.text for job in jobs if job.path.name == f"test-{language}.npz" for clause, _ in job.said}
        notes = [clause.text for clause in said if clause.kind == "whole"]
        trials = {clause.text for job in jobs if job.path.name == f"trial-{language}.npz" for clause, _ in job.said}
        assert len(set(notes)) == 15 and len(tests) == 2 and not tests & set(notes)
        assert len(trials) == 2 and not trials & (tests | set(notes))
        for job in jobs:
            assert len({voice for _, voice in job.said}) == 1 or job.path.name.startswith("t")


@pytest.mark.parametrize("language", LANGUAGES)
def test_pieces_write_all_that_is_said(pieces, language):
    processor = open_pieces(pieces)
    for text in corpus(language)[-200:]:
        ids = processor.encode(text)
        assert processor.decode(ids) == text and processor.unk_id() not in ids
    if language == "zh":
        assert len(processor.encode("请记住夏日凉鞋")) == 7


def test_banks_keep_their_value_to_an_eighth():
    banks = np.random.default_rng(1).uniform(-16, 27, (50, 80)).astype(np.float32)
    assert np.abs(as_banks(as_bytes(banks)) - banks).max() <= 0.125 + 1e-4


def test_a_batch_is_what_it_says(data, pieces):
    processor = open_pieces(pieces)
    trained = Corpus(data, processor, "cpu")
    batch = trained.sentences.batch(np.random.default_rng(2), 6)
    noise = torch.Generator().manual_seed(1)
    features = trained.features(batch, noise)
    assert features.shape == (6, int(batch.frames.max()), 560) and torch.isfinite(features).all()
    for row, size in zip(batch.targets.tolist(), batch.sizes.tolist(), strict=True):
        tags, text = processor.decode(row[:4]), processor.decode(row[4:size])
        assert tags.endswith("itn|>") and all(piece == -1 for piece in row[size:])
        assert ("<|nospeech|>" in tags) == (text == "")
        assert "<|zh|>" not in tags or any(sign >= "\u4e00" for sign in text)


def test_batches_are_the_same_whoever_puts_them_together(data, pieces):
    given = Corpus(data, open_pieces(pieces), "cpu").sentences
    alone, ahead = (list(drawn(given, 3, 4, range(2, 6), workers, pinned=False)) for workers in (0, 2))
    assert len(alone) == 4 and not torch.equal(alone[0].rows, alone[1].rows)
    for one, other in zip(alone, ahead, strict=True):
        assert all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


def test_encoding_is_funasrs(pieces):
    processor = open_pieces(pieces)
    model = build(config(SIZES), processor).eval()
    features, frames = torch.randn(2, 9, 560, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 6])
    styles = ("withitn", "woitn")
    ours = encode(model, features, frames, torch.tensor([QUERIES[style] for style in styles]))
    theirs, _ = model.encode(features, frames.clone(), torch.tensor([tags(processor, "en", style) for style in styles]))
    assert torch.equal(ours, theirs)


def test_the_same_seed_gives_the_same_model_and_a_killed_run_goes_on(data, pieces, tmp_path, monkeypatch):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        shutil.copy(pieces, tmp_path / name / PIECES)
    figures = train(data, tmp_path / "whole", TINY, lambda _: None)
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    save, steps = training._save, []

    def kill(run, path):
        save(run, path)
        steps.append(run.step)
        if run.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", kill)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "killed", TINY, lambda _: None)
    train(data, tmp_path / "killed", TINY, lambda _: None, resume=True)
    assert steps == [1, 2, 3, 4, 5, 6] and not (tmp_path / "killed" / RESUME).exists()
    one, other = (torch.load(tmp_path / name / TORCH, weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert figures.steps == 6 and set(figures.cer) == {"zh", "en"} and (tmp_path / "whole" / FIGURES).exists()
    assert speech_files(tmp_path / "whole").weights.name == TORCH


def test_the_loss_falls_on_what_is_seen_again(data, pieces, tmp_path, monkeypatch):
    (tmp_path / PIECES).write_bytes(pieces.read_bytes())
    monkeypatch.setattr(training, "TELL_EVERY", 10)
    told = []
    train(data, tmp_path, TrainSpec(steps=40, batch=4, rate=5e-3, sizes=SIZES), told.append)
    losses = [float(line.split("text ")[1].split(",")[0]) + float(line.split("tags ")[1]) for line in told if "text " in line]
    assert losses[-1] < 0.7 * losses[0]


def test_the_test_is_heard_as_in_service(data, pieces):
    cmvn = Corpus(data, open_pieces(pieces), "cpu").cmvn
    found = heard(data, "zh", cmvn)
    assert found.texts == [written(text, "zh") for text in sentences("zh", SPEC.seed + 1, 3)] and len(found.features) == 3
    assert abs(float(torch.cat(found.features).mean())) < 0.5


def test_data_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadSetting, match="speech-data"):
        list(files_of(tmp_path, "zh-*.npz"))
    (tmp_path / "zh-000.npz").write_bytes(b"no data")
    with pytest.raises(BadSetting, match="zh-000"):
        list(files_of(tmp_path, "zh-*.npz"))


@given(st.text(max_size=12), st.text(max_size=12))
def test_edits_are_a_distance(left, right):
    assert edits(left, right) == edits(right, left) and (edits(left, right) == 0) == (left == right)
    assert abs(len(left) - len(right)) <= edits(left, right) <= max(len(left), len(right))
    assert edits(left, left + right) == len(right)


def test_error_rates():
    assert error_rate([("你好吗", "你好"), ("a b", "ab")]) == 1 / 5 and error_rate([]) == 0.0


@pytest.mark.skipif(espeak() is None, reason=REMEDY)
def test_what_was_rendered_is_kept_and_of_one_spec(tmp_path):
    spec, told = RenderSpec(voices=1, renders=1, tests=1, trials=1, phrases=1, whole=1), []
    render(tmp_path, spec, 1, told.append)
    assert len(told) == 6 and sizes(list(files_of(tmp_path, "zh-*.npz")))[0] == 1 + 2 * 6 + 1
    (tmp_path / "zh-000.npz").unlink()
    render(tmp_path, spec, 1, told.append)
    assert told[6:] == ["1 of 1: zh-000.npz"]
    with pytest.raises(BadSetting, match="other options"):
        render(tmp_path, RenderSpec(voices=2), 1, told.append)


def test_the_catalogue_can_be_spoken():
    assert all(len(values(language)) > 1000 for language in LANGUAGES) and load_catalogue().shelves
