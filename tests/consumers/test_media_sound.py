"""Sound through the decoding process: the samples arrive, refusals keep their reasons, and a dead decoder is replaced."""

import os
import signal

import numpy as np
import pytest

from consumers.media.decoder import Decoder
from consumers.media.limits import MediaLimits, limits_of
from consumers.media.results import Refusal
from models.sound import SAMPLE_RATE, SoundSpec, open_sound
from schemas.settings import Settings
from tests.models.sound_files import tone, write_sound


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return write_sound(tmp_path_factory.mktemp("voice") / "voice.ogg", tone(2.0))


@pytest.fixture(scope="module")
def decoder():
    with Decoder(MediaLimits(sound=SoundSpec(taken_s=1.0, max_duration_s=3.0))) as running:
        yield running


def test_the_samples_are_those_of_the_file(decoder, voice):
    samples, cut = decoder.sound(voice)
    assert samples.dtype == np.float32 and np.array_equal(samples, open_sound(voice).samples[:SAMPLE_RATE])
    assert cut == "only the first 1 s of sound are taken"


def test_refusals_keep_their_reasons(decoder, tmp_path):
    (tmp_path / "text.mp3").write_text("no sound at all")
    for path, reason in ((tmp_path / "text.mp3", "undecodable"), (write_sound(tmp_path / "long.wav", tone(4.0)), "duration")):
        with pytest.raises(Refusal) as refused:
            decoder.sound(path)
        assert refused.value.refused.reason == reason
        assert str(tmp_path) not in refused.value.refused.detail
    with pytest.raises(Refusal) as refused:
        decoder.sound(path, within_s=0.0)
    assert refused.value.refused.reason == "decode_timeout"


def test_images_and_sounds_take_turns_in_one_process(decoder, voice, tmp_path):
    from tests.consumers.media_server import png

    (tmp_path / "a.png").write_bytes(png(8, 6))
    decoder.sound(voice)
    child = decoder._child[0].pid
    assert decoder.image(tmp_path / "a.png").shape == (6, 8, 3)
    assert len(decoder.sound(voice)[0]) == SAMPLE_RATE and decoder._child[0].pid == child


def test_a_decoder_that_died_is_replaced(decoder, voice):
    decoder.sound(voice)
    child = decoder._child[0]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(Refusal):
        decoder.sound(voice)
    assert len(decoder.sound(voice)[0]) == SAMPLE_RATE


def test_the_settings_bound_it():
    assert limits_of(Settings(media_sound_s=7.0, media_max_duration_s=9.0)).sound == SoundSpec(taken_s=7.0, max_duration_s=9.0)
