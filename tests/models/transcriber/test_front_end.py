"""Features: those that funasr computes, which is what the networks were trained on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.sound import open_sound
from models.transcriber.files import FrontEndSpec
from models.transcriber.front_end import FrontEnd, low_frame_rate, mel_banks, read_cmvn, write_cmvn
from models.transcriber.torch_engine import import_funasr
from schemas.errors import BadSetting
from tests.models.transcriber.voice import VOICE

PLAIN = np.stack([np.zeros(560), np.ones(560)]).astype(np.float32)


@pytest.fixture(scope="module")
def funasr_front_end():
    import_funasr()
    from funasr.frontends.wav_frontend import WavFrontend

    return WavFrontend(dither=0.0, lfr_m=7, lfr_n=6, window="hamming", n_mels=80)


@pytest.mark.parametrize("samples", [400, 401, 3_000, 16_000, 50_003, 120_000])
def test_features_are_those_of_funasr(funasr_front_end, samples):
    sound = open_sound(VOICE).samples[:samples]
    theirs, _ = funasr_front_end(torch.tensor(sound)[None], torch.tensor([len(sound)]))
    ours = FrontEnd(FrontEndSpec(), PLAIN).features(sound)
    assert ours.shape == theirs[0].shape and ours.dtype == np.float32
    assert np.abs(ours - theirs[0].numpy()).mean() < 1e-4 and np.abs(ours - theirs[0].numpy()).max() < 0.02


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_low_frame_rate_is_that_of_funasr(frames, together, step):
    import_funasr()
    from funasr.frontends.wav_frontend import apply_lfr

    banks = np.arange(frames * 3, dtype=np.float32).reshape(frames, 3)
    ours = low_frame_rate(banks, together, step)
    assert ours.shape == (-(-frames // step), 3 * together)
    if together >= step and (together, step) == (7, 6):
        assert np.array_equal(ours, apply_lfr(torch.tensor(banks), together, step).numpy())


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_a_sound_shorter_than_a_frame_gives_one(samples):
    assert FrontEnd(FrontEndSpec(), PLAIN).features(np.zeros(samples, np.float32)).shape == (1, 560)
    assert np.isfinite(mel_banks(np.zeros(samples, np.float32), FrontEndSpec())).all()


def test_blocks_do_not_show(monkeypatch):
    sound = open_sound(VOICE).samples[:40_000]
    whole = mel_banks(sound, FrontEndSpec())
    monkeypatch.setattr("models.transcriber.front_end.BLOCK", 7)
    assert np.allclose(whole, mel_banks(sound, FrontEndSpec()), atol=1e-4)


def test_cmvn_is_written_as_funasr_reads_it(tmp_path):
    import_funasr()
    from funasr.frontends.wav_frontend import load_cmvn

    cmvn = np.random.default_rng(1).normal(size=(2, 560)).astype(np.float32)
    write_cmvn(tmp_path / "am.mvn", cmvn)
    assert np.allclose(read_cmvn(tmp_path / "am.mvn"), cmvn, rtol=1e-5)
    assert np.array_equal(load_cmvn(tmp_path / "am.mvn").numpy(), read_cmvn(tmp_path / "am.mvn"))
    sound = open_sound(VOICE).samples[:20_000]
    plain, scaled = FrontEnd(FrontEndSpec(), PLAIN).features(sound), FrontEnd(FrontEndSpec(), cmvn).features(sound)
    assert np.allclose(scaled, (plain + cmvn[0]) * cmvn[1], atol=1e-4)


@pytest.mark.parametrize("text", ["", "<AddShift> 560 560\n<LearnRateCoef> 0 [ 1 2 x ]\n", "\x00\xff", "<Rescale>"])
def test_a_broken_cmvn_is_named(tmp_path, text):
    (tmp_path / "am.mvn").write_text(text)
    with pytest.raises(BadSetting, match=r"am\.mvn"):
        read_cmvn(tmp_path / "am.mvn")


def test_a_front_end_that_does_not_fit_is_named():
    with pytest.raises(BadSetting, match="560"):
        FrontEnd(FrontEndSpec(), PLAIN[:, :80])
    with pytest.raises(BadSetting, match="hann"):
        mel_banks(np.zeros(800, np.float32), FrontEndSpec(window="hann"))
