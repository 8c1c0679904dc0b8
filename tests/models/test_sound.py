"""Sound out of files: every format as 16 kHz mono, within bounds, whatever is in the file."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.sound import SAMPLE_RATE, SoundSpec, open_sound
from schemas.errors import InvalidMedia, MediaTooLarge
from tests.models.sound_files import KINDS, tone, write_sound


def hertz(samples):
    """Where most of the sound is."""
    return np.argmax(np.abs(np.fft.rfft(samples))) * SAMPLE_RATE / len(samples)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_every_format_gives_the_same_sound(tmp_path, kind, rate, channels):
    path = write_sound(tmp_path / f"tone.{kind}", tone(1.5, rate), rate, channels=channels)
    sound = open_sound(path)
    assert sound.samples.dtype == np.float32 and sound.samples.ndim == 1 and sound.cut == ""
    assert abs(len(sound.samples) / SAMPLE_RATE - 1.5) < 0.15
    assert abs(hertz(sound.samples) - 440) < 3
    assert 0.3 < np.abs(sound.samples[2000:20_000]).max() <= 1.0


@pytest.mark.parametrize("kind", ["mkv", "avi", "mov"])
def test_a_video_gives_its_voice(tmp_path, kind):
    path = write_sound(tmp_path / f"clip.{kind}", tone(1.0), picture=True)
    assert abs(hertz(open_sound(path).samples) - 440) < 3


def test_a_video_without_sound_is_silent_and_no_error(tmp_path):
    from benchmarks.edits import Edit, Shot, write

    sound = open_sound(write(Edit("clip", [Shot(1, 12)]), 4, tmp_path / "clip.avi"))
    assert sound.samples.shape == (0,) and sound.cut == ""


def test_only_the_first_part_of_a_long_sound_is_taken(tmp_path):
    path = write_sound(tmp_path / "long.flac", np.concatenate([tone(2.0), tone(2.0, hertz=880)]))
    sound = open_sound(path, SoundSpec(taken_s=1.5))
    assert len(sound.samples) == 1.5 * SAMPLE_RATE and sound.cut == "only the first 2 s of sound are taken"
    assert abs(hertz(sound.samples) - 440) < 3


def test_too_long_by_its_header_is_refused_before_it_is_decoded(tmp_path):
    path = write_sound(tmp_path / "long.wav", tone(3.0))
    with pytest.raises(MediaTooLarge) as refused:
        open_sound(path, SoundSpec(max_duration_s=2.0))
    assert refused.value.what == "duration"


def test_when_the_time_is_over_what_was_decoded_is_kept(tmp_path):
    path = write_sound(tmp_path / "long.wav", tone(3.0))
    sound = open_sound(path, SoundSpec(max_seconds=1e-9))
    assert len(sound.samples) == 0 and "in the time there was" in sound.cut


def test_a_truncated_file_gives_its_beginning(tmp_path):
    whole = write_sound(tmp_path / "whole.flac", np.random.default_rng(1).uniform(-0.5, 0.5, 48_000).astype(np.float32)).read_bytes()
    (tmp_path / "half.flac").write_bytes(whole[: len(whole) // 2])
    assert 0.5 < len(open_sound(tmp_path / "half.flac").samples) / SAMPLE_RATE < 2.0


@pytest.mark.parametrize("rate", [100, 1_000_000])
def test_absurd_sample_rates_are_refused(tmp_path, rate):
    path = write_sound(tmp_path / "tone.wav", tone(1.0))
    head = bytearray(path.read_bytes())
    head[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(head)
    with pytest.raises(InvalidMedia):
        open_sound(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF" + bytes(80), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", bytes(5000)],
)
def test_what_is_no_sound_is_refused(tmp_path, content):
    (tmp_path / "voice.wav").write_bytes(content)
    with pytest.raises(InvalidMedia):
        open_sound(tmp_path / "voice.wav")


def test_a_name_is_a_file_and_no_address(tmp_path):
    with pytest.raises(InvalidMedia):
        open_sound("concat:/etc/passwd")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    return root, [write_sound(root / f"tone.{kind}", tone(0.4)).read_bytes() for kind in ("wav", "flac", "ogg", "m4a", "mp3")]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_refused_or_heard_never_worse(sources, data):
    root, contents = sources
    content = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = root / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        sound = open_sound(path, SoundSpec(taken_s=2.0, max_seconds=5.0))
    except InvalidMedia:
        return
    assert len(sound.samples) <= 2.0 * SAMPLE_RATE and np.isfinite(sound.samples).all() and np.abs(sound.samples).max(initial=0) <= 1.0
