"""Stretches of speech: within the sound, apart, none too long, and nothing likely left out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.sound import SAMPLE_RATE, open_sound
from models.transcriber.voices import WINDOW, CutSpec, SileroVoices, stretches
from tests.models.sound_files import tone
from tests.models.transcriber.voice import VOICE

SECOND = SAMPLE_RATE // WINDOW


def speech(*parts):
    """(seconds, probability) one after the other."""
    return np.concatenate([np.full(round(seconds * SECOND), probability, np.float32) for seconds, probability in parts])


def cut(probabilities, **options):
    samples = len(probabilities) * WINDOW
    found = stretches(probabilities, samples, CutSpec(pad_s=0, **options))
    return [(round(start / SAMPLE_RATE, 1), round(end / SAMPLE_RATE, 1)) for start, end in found]


def test_pauses_cut_and_short_ones_do_not():
    probabilities = speech((1, 0.1), (2, 0.9), (0.3, 0.1), (2, 0.9), (1, 0.1), (1, 0.9))
    assert cut(probabilities) == [(1.0, 5.2), (6.2, 7.2)]
    assert len(cut(probabilities, pause_s=0.2)) == 3


def test_between_the_thresholds_speech_goes_on_but_does_not_begin():
    assert cut(speech((1, 0.45), (1, 0.9), (2, 0.45), (1, 0.1))) == [(1.0, 4.0)]


def test_a_click_is_no_speech():
    assert cut(speech((1, 0.0), (0.1, 0.9), (1, 0.0))) == []


def test_a_long_stretch_is_cut_where_speech_is_least_likely():
    probabilities = speech((3.5, 0.9), (0.1, 0.5), (3, 0.9))
    assert cut(probabilities, most_s=5.0) == [(0.0, 3.5), (3.5, 6.5)]


def test_padding_stays_within_the_sound_and_between_neighbours():
    probabilities = speech((2, 0.9), (0.6, 0.0), (2, 0.9))
    found = stretches(probabilities, len(probabilities) * WINDOW, CutSpec(pad_s=0.5))
    assert found[0].start == 0 and found[0].end <= found[1].start and found[1].end == len(probabilities) * WINDOW
    assert found[0].end - 2 * SAMPLE_RATE > 0.2 * SAMPLE_RATE


@given(
    st.lists(st.floats(0, 1, width=32), max_size=200),
    st.integers(0, WINDOW - 1),
    st.floats(0.1, 3.0),
    st.floats(0.04, 1.0),
    st.floats(0.0, 0.6),
)
def test_whatever_the_probabilities(probabilities, missing, most_s, pause_s, pad_s):
    samples = max(len(probabilities) * WINDOW - missing, 0)
    spec = CutSpec(most_s=most_s, pause_s=pause_s, pad_s=pad_s, least_s=0.0)
    found = stretches(np.array(probabilities, np.float32), samples, spec)
    before = 0
    for start, end in found:
        assert before <= start < end <= samples
        assert end - start <= max(1, int(most_s * SAMPLE_RATE) // WINDOW) * WINDOW
        before = end
    for at, probability in enumerate(probabilities):
        if probability >= spec.enter and at * WINDOW < samples:
            assert any(start <= at * WINDOW < end for start, end in found)


def test_silero_hears_a_voice_and_nothing_else():
    voices, sound = SileroVoices(), open_sound(VOICE).samples
    assert voices.probabilities(sound).mean() > 0.7
    for other in (np.zeros(32_000, np.float32), tone(2.0), np.random.default_rng(1).normal(0, 0.05, 32_000).astype(np.float32)):
        assert not stretches(voices.probabilities(other), len(other), CutSpec())
    assert voices.probabilities(np.zeros(0, np.float32)).shape == (0,)


def test_a_long_sound_goes_through_in_blocks_with_the_state_kept():
    voices, sound = SileroVoices(), open_sound(VOICE).samples
    long = np.tile(sound, 4)
    whole = voices.probabilities(long)
    assert len(whole) == -(-len(long) // WINDOW) > 512
    step = len(sound) // WINDOW
    assert np.abs(whole[:step] - voices.probabilities(sound)[:step]).max() < 1e-4
    assert whole[512:600].mean() > 0.5
