"""Where somebody speaks in a sound: silero-vad's probabilities, and the stretches cut out of them.

silero-vad's package is not imported, since that imports torch: its ONNX file runs through onnxruntime, and the cutting is arithmetic.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.sound import SAMPLE_RATE
from schemas.errors import MissingPrerequisite

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WINDOW = 512
CONTEXT = 64
BLOCK = 512
STATE = 128
MODEL_FILE = "silero_vad_16k_sequence.onnx"
Floats = NDArray[np.float32]


class CutSpec(Struct, frozen=True, kw_only=True):
    """How stretches are cut, in seconds. Speech begins at ``enter`` and ends below ``leave`` for ``pause_s``; ``least_s`` of it is speech
    at all; ``pad_s`` is added on both sides where there is room; no stretch is longer than ``most_s``."""

    enter: float = 0.5
    leave: float = 0.35
    pause_s: float = 0.5
    least_s: float = 0.15
    pad_s: float = 0.15
    most_s: float = 15.0


class Stretch(NamedTuple):
    """Samples ``start`` to ``end`` (exclusive) of a sound."""

    start: int
    end: int


class SileroVoices:
    """Probability of speech, one per 512 samples (32 ms)."""

    def __init__(self, threads: int = 1) -> None:
        self._session = _session(threads)

    def probabilities(self, sound: Floats) -> Floats:
        """For each window of the sound, the last one filled up with silence."""
        windows = -(-len(sound) // WINDOW)
        padded = np.zeros(CONTEXT + windows * WINDOW, np.float32)
        padded[CONTEXT : CONTEXT + len(sound)] = sound
        view = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + WINDOW)[::WINDOW] if windows else np.zeros((0, 0), np.float32)
        hidden, cell = np.zeros((1, 1, STATE), np.float32), np.zeros((1, 1, STATE), np.float32)
        found = [np.zeros(0, np.float32)]
        for at in range(0, windows, BLOCK):
            given = {"input": np.ascontiguousarray(view[at : at + BLOCK]), "h": hidden, "c": cell}
            speech, hidden, cell = self._session.run(None, given)
            found.append(speech)
        return np.concatenate(found)


def _session(threads: int) -> "InferenceSession":
    import onnxruntime

    spec = importlib.util.find_spec("silero_vad")
    places = [Path(place) / "data" / MODEL_FILE for place in (spec.submodule_search_locations or [])] if spec is not None else []
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise MissingPrerequisite(f"silero-vad with its {MODEL_FILE} is not installed; install TagStream's requirements again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def stretches(speech: Floats, samples: int, spec: CutSpec) -> list[Stretch]:
    """Cuts a sound into stretches of speech, in order of time, apart from each other and within the sound.

    Args:
        speech: one probability per window.
        samples: length of the sound.
        spec: thresholds and lengths.
    """
    most = max(1, int(spec.most_s * SAMPLE_RATE) // WINDOW)
    runs = [run for run in _runs(speech, spec) if (run[1] - run[0]) * WINDOW >= spec.least_s * SAMPLE_RATE]
    pieces = [piece for run in runs for piece in _split(speech, run, most)]
    pad, longest = int(spec.pad_s * SAMPLE_RATE), most * WINDOW
    found = []
    for number, (first, last) in enumerate(pieces):
        before = pieces[number - 1][1] * WINDOW if number else 0
        after = pieces[number + 1][0] * WINDOW if number + 1 < len(pieces) else samples
        start, end = first * WINDOW, min(last * WINDOW, samples)
        room = max(0, longest - (end - start)) // 2
        left = min(pad, room, (start - before) // 2 if number else start)
        right = min(pad, room, (after - end) // 2 if number + 1 < len(pieces) else after - end)
        if end > start:
            found.append(Stretch(start - left, end + max(right, 0)))
    return found


def _runs(speech: Floats, spec: CutSpec) -> list[tuple[int, int]]:
    """Windows from where speech begins to where the pause begins that ends it."""
    pause = max(1, round(spec.pause_s * SAMPLE_RATE / WINDOW))
    found: list[tuple[int, int]] = []
    start, quiet = -1, 0
    for at, probability in enumerate(speech.tolist()):
        if start < 0:
            if probability >= spec.enter:
                start, quiet = at, 0
        elif probability < spec.leave:
            quiet += 1
            if quiet >= pause:
                found.append((start, at + 1 - quiet))
                start = -1
        else:
            quiet = 0
    if start >= 0:
        found.append((start, len(speech) - quiet))
    return found


def _split(speech: Floats, run: tuple[int, int], most: int) -> list[tuple[int, int]]:
    """Pieces of at most ``most`` windows, cut in the second half of each where speech is least likely."""
    start, end = run
    found = []
    while end - start > most:
        low = start + max(1, most // 2)
        cut = low + int(np.argmin(speech[low : start + most + 1]))
        found.append((start, cut))
        start = cut
    return [*found, (start, end)]
