"""SenseVoice through onnxruntime against funasr's torch, by CPU time on one thread: features, network and decoding, without finding voices,
which both sides share.

Weights are random, since they do not change the speed. Shapes: the demo's, and SenseVoiceSmall's layers at a fifth of their number (14 of
70, all alike) with the demo's pieces (its own are 25,055): whole, it takes minutes to make and to export. All sides hear the same
stretches in turn, each in batches of like length as it serves (a quantised network takes one at a time); torch also one at a time, which
is what a single voice costs.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import process_time
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
    "SenseVoiceSmall, a fifth of its layers": {
        "output_size": 512, "attention_heads": 4, "linear_units": 2048, "num_blocks": 10, "tp_blocks": 4, "kernel_size": 11,
    },
}  # fmt: skip
STRETCHES, ROUNDS = 32, 2
THREADS = 1
AT_LEAST = 1.7
Way = tuple[str, int]
"""A side, and how many stretches it is given at a time at most."""


def run() -> list[Row]:
    """Seconds of sound heard per CPU second, by shape, precision and way."""
    rows = []
    for name, sizes in SHAPES.items():
        with tempfile.TemporaryDirectory(prefix="tagstream-bench-") as scratch:
            directory = write_random(Path(scratch, "torch"), sizes)
            torch = FunasrRecogniser(speech_files(directory, TORCH), threads=THREADS)
            ways: dict[Way, Recogniser] = {("torch", torch.batch): torch, ("torch", 1): torch}
            for precision, int8 in (("float32", False), ("int8", True)):
                side = OnnxRecogniser(export(directory, Path(scratch, precision), int8=int8), THREADS)
                ways[precision, side.batch] = side
            speeds = _speeds(ways, _sounds(STRETCHES))
        ours = {way[0]: speed for way, speed in speeds.items() if way[0] != "torch"}
        rows += [
            Row(
                what=f"{name}, {precision}, {THREADS} thread, against {'batches of like length' if most > 1 else 'one at a time'}",
                unit="s of sound per CPU s",
                ours=ours[precision],
                peer=speeds["torch", most],
                peer_name=f"funasr AutoModel, float32, up to {most} at a time",
                ratio_at_least=AT_LEAST,
                note="random weights",
            )
            for precision in ("float32", "int8")
            for most in (torch.batch, 1)
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


def _speeds(ways: dict[Way, Recogniser], sounds: Sequence[NDArray[np.float32]]) -> dict[Way, float]:
    lengths = [len(sound) for sound in sounds]
    for side in ways.values():
        side.recognise(sounds[:1])
    spent = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for way, side in ways.items():
            began = process_time()
            for chosen in batches(lengths, way[1], BatchSpec()):
                side.recognise([sounds[at] for at in chosen])
            spent[way] += process_time() - began
    return {way: ROUNDS * sum(lengths) / SAMPLE_RATE / seconds for way, seconds in spent.items()}
