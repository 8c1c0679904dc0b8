"""Features as SenseVoice was trained on: log mel banks, seven frames put together every sixth (low frame rate: one per 60 ms), shifted and
scaled by ``am.mvn``. No dither, so the same sound gives the same features.

The banks are Kaldi's arithmetic in numpy and scipy, without torch: kaldi-native-fbank gives the same values frame by frame and takes
several times as long. scipy's transform of single precision takes a quarter of the time of numpy's.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.transcriber.files import FrontEndSpec
from schemas.errors import BadSetting

Floats = NDArray[np.float32]
FULL_SCALE = 32_768.0
PREEMPHASIS = np.float32(0.97)
EPSILON = np.float32(1.1920929e-07)
LOWEST_HZ = 20.0
BLOCK = 48
"""Frames at a time. A product this small stays on one thread; a larger one wakes those of numpy's BLAS, which spin for longer than they
help: seven times the CPU time on two cores."""


class FrontEnd:
    """Sound to features.

    Args:
        spec: lengths and numbers.
        cmvn: (2, mels x ``lfr_m``), what is added and what is then multiplied by.
    """

    def __init__(self, spec: FrontEndSpec, cmvn: Floats) -> None:
        if cmvn.shape != (2, spec.n_mels * spec.lfr_m):
            raise BadSetting(f"transcriber_model: am.mvn has {cmvn.shape[1]} values, config.yaml asks for {spec.n_mels * spec.lfr_m}")
        self._spec, self._cmvn = spec, cmvn

    def features(self, sound: Floats) -> Floats:
        """(frames, mels x ``lfr_m``); at least one frame, a sound too short for one is filled up with silence."""
        scaled: Floats = (low_frame_rate(self.banks(sound), self._spec.lfr_m, self._spec.lfr_n) + self._cmvn[0]) * self._cmvn[1]
        return scaled

    def banks(self, sound: Floats) -> Floats:
        """Log mel banks, (frames, mels)."""
        return mel_banks(sound, self._spec)


def mel_banks(sound: Floats, spec: FrontEndSpec) -> Floats:
    """Log mel banks of a sound in [-1, 1], (frames, mels), one per ``frame_shift``: Kaldi's fbank without dither and energy, from 20 Hz up,
    frames within the sound only."""
    from scipy.fft import rfft

    length, shift = spec.fs * spec.frame_length // 1000, spec.fs * spec.frame_shift // 1000
    if len(sound) < length:
        sound = np.pad(sound, (0, length - len(sound)))
    size = 1 << (length - 1).bit_length()
    window, mels = _tables(spec, length, size)
    whole = np.asarray(sound, np.float32) * np.float32(FULL_SCALE)
    view = np.lib.stride_tricks.sliding_window_view(whole, length)[::shift]
    found = np.empty((len(view), spec.n_mels), np.float32)
    for at in range(0, len(view), BLOCK):
        frames = view[at : at + BLOCK] - view[at : at + BLOCK].mean(axis=1, keepdims=True)
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        spectrum = rfft((frames - PREEMPHASIS * before) * window, size, axis=1)[:, : size // 2]
        found[at : at + BLOCK] = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ mels
    return np.log(np.maximum(found, EPSILON))


@cache
def _tables(spec: FrontEndSpec, length: int, size: int) -> tuple[Floats, Floats]:
    """The window, and the triangles on the mel scale, (bins of the transform, mels)."""
    if spec.window != "hamming":
        raise BadSetting(f"transcriber_model: config.yaml: frontend_conf: window: {spec.window}, only hamming is known here")
    low, high = (1127.0 * np.log1p(hertz / 700.0) for hertz in (LOWEST_HZ, spec.fs / 2))
    step = (high - low) / (spec.n_mels + 1)
    left = low + np.arange(spec.n_mels)[:, None] * step
    bins = 1127.0 * np.log1p(np.arange(size // 2) * (spec.fs / size) / 700.0)[None, :]
    triangles = np.maximum(0.0, np.minimum((bins - left) / step, (left + 2 * step - bins) / step))
    return np.hamming(length).astype(np.float32), np.ascontiguousarray(triangles.T, np.float32)


def low_frame_rate(banks: Floats, together: int, step: int) -> Floats:
    """``together`` frames side by side every ``step``: (ceil(frames / step), mels x together). The first frame is repeated before the
    start, the last one after the end."""
    count = -(-len(banks) // step)
    before = (together - 1) // 2
    after = max(0, (count - 1) * step + together - before - len(banks))
    padded = np.concatenate([np.repeat(banks[:1], before, axis=0), banks, np.repeat(banks[-1:], after, axis=0)])
    return np.stack([padded[at * step : at * step + together].reshape(-1) for at in range(count)])


def read_cmvn(path: Path) -> Floats:
    """``am.mvn`` in Kaldi's nnet1 text: what is added and what is then multiplied by, (2, values).

    Raises:
        BadSetting: when it cannot be read.
    """
    found: dict[str, list[float]] = {}
    wanted = ""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words and words[0] in ("<AddShift>", "<Rescale>"):
                wanted = words[0]
            elif words and words[0] == "<LearnRateCoef>" and wanted:
                found[wanted] = [float(word) for word in words[3:-1]]
                wanted = ""
        return np.array([found["<AddShift>"], found["<Rescale>"]], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise BadSetting(f"transcriber_model: {path} cannot be read as am.mvn ({type(error).__name__})") from None


def write_cmvn(path: Path, cmvn: Floats) -> None:
    """Writes what ``read_cmvn`` and funasr read."""
    size = cmvn.shape[1]
    added, scaled = (" ".join(f"{value:.7g}" for value in row) for row in cmvn)
    path.write_text(
        f"<Nnet>\n<Splice> {size} {size}\n[ 0 ]\n<AddShift> {size} {size}\n<LearnRateCoef> 0 [ {added} ]\n"
        f"<Rescale> {size} {size}\n<LearnRateCoef> 0 [ {scaled} ]\n</Nnet>\n",
        encoding="utf-8",
    )
