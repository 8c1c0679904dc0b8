"""SenseVoice through onnxruntime against funasr's torch, on one CPU thread: features, network and decoding, without finding voices, which
both sides share.

Weights are random, since they do not change the speed: the demo's shape, and the layers of SenseVoiceSmall with the demo's pieces (its own
are 25,055). Both sides take the same stretches in the same batches, in turn; quantised networks take one at a time.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row
from models.sound import SAMPLE_RATE
from models.transcriber.export import export
from models.transcriber.files import CMVN, TORCH, speech_files
from models.transcriber.front_end import write_cmvn
from models.transcriber.onnx_engine import OnnxRecogniser
from models.transcriber.pipeline import BatchSpec, Recogniser, batches
from models.transcriber.torch_engine import FunasrRecogniser

SHAPES: dict[str, dict[str, Any] | None] = {
    "demo": None,
    "SenseVoiceSmall": {
        "output_size": 512, "attention_heads": 4, "linear_units": 2048, "num_blocks": 50, "tp_blocks": 20, "kernel_size": 11,
    },
}  # fmt: skip
STRETCHES = {"demo": (48, 4), "SenseVoiceSmall": (6, 1)}
THREADS = 1
AT_LEAST = 1.7


def run() -> list[Row]:
    """Seconds of sound heard a second, by shape and precision."""
    rows = []
    for name, sizes in SHAPES.items():
        count, rounds = STRETCHES[name]
        with tempfile.TemporaryDirectory(prefix="tagstream-bench-") as scratch:
            directory = write_random(Path(scratch, "torch"), sizes)
            sides: dict[str, Recogniser] = {"torch": FunasrRecogniser(speech_files(directory, TORCH), threads=THREADS)}
            for precision, int8 in (("float32", False), ("int8", True)):
                sides[precision] = OnnxRecogniser(export(directory, Path(scratch, precision), int8=int8), THREADS)
            speeds = _speeds(sides, _sounds(count), rounds)
        rows += [
            Row(
                what=f"{name}, {precision}, {THREADS} thread",
                unit="s of sound/s",
                ours=speeds[precision],
                peer=speeds["torch"],
                peer_name="funasr AutoModel, float32",
                ratio_at_least=AT_LEAST,
                note="random weights",
            )
            for precision in ("float32", "int8")
        ]
    return rows


def write_random(directory: Path, sizes: dict[str, Any] | None) -> Path:
    """A SenseVoice of that shape with random weights."""
    import torch

    from offline.speech.network import PIECES, build, config, open_pieces, train_pieces, write_config

    directory.mkdir()
    torch.manual_seed(1)
    shape = config(sizes)
    write_config(directory, shape)
    train_pieces(directory / PIECES)
    write_cmvn(directory / CMVN, np.stack([np.full(560, -12.0), np.full(560, 0.25)]).astype(np.float32))
    torch.save(build(shape, open_pieces(directory / PIECES)).state_dict(), directory / TORCH)
    return directory


def _sounds(count: int) -> list[NDArray[np.float32]]:
    """Stretches of 2 to 8 seconds; noise costs as much as a voice."""
    draw = np.random.default_rng(3)
    return [draw.normal(0, 0.1, int(draw.uniform(2, 8) * SAMPLE_RATE)).astype(np.float32) for _ in range(count)]


def _speeds(sides: dict[str, Recogniser], sounds: Sequence[NDArray[np.float32]], rounds: int) -> dict[str, float]:
    lengths = [len(sound) for sound in sounds]
    for side in sides.values():
        side.recognise(sounds[:1])
    spent = dict.fromkeys(sides, 0.0)
    for _ in range(rounds):
        for name, side in sides.items():
            began = perf_counter()
            for chosen in batches(lengths, side.batch, BatchSpec()):
                side.recognise([sounds[at] for at in chosen])
            spent[name] += perf_counter() - began
    return {name: rounds * sum(lengths) / SAMPLE_RATE / seconds for name, seconds in spent.items()}
