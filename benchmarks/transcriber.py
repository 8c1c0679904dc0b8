"""SenseVoice through onnxruntime against funasr's torch, by CPU time on one thread: features, network and decoding, without finding voices,
which both sides share; and whether they say the same.

Models: the demo's, and SenseVoiceSmall's layers at a fifth of their number (14 of 70, all alike) with the demo's pieces (its own are
25,055) and random weights, which do not change the speed: whole, it takes minutes to make and to export. All sides hear the same
stretches in turn, each in batches of like length as it serves (int8 alone takes one at a time); torch also one at a time, which is what a
single voice costs. The demo's stretches are sentences of its test, by voices that did not train it, on which texts are compared too, heard
as in service; that needs espeak-ng. Random weights doubt everything, so what ``both`` makes of the other model is reckoned: its int8, and
its float32 for as many stretches as the demo hears again.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo_weights import write_demo
from benchmarks.report import Row
from models.sound import SAMPLE_RATE
from models.transcriber.distance import error_rate
from models.transcriber.export import export
from models.transcriber.files import CMVN, TORCH, Precision, speech_files
from models.transcriber.front_end import write_cmvn
from models.transcriber.onnx_engine import OnnxRecogniser
from models.transcriber.pipeline import BatchSpec, Recogniser, SenseVoiceTranscriber, batches
from models.transcriber.torch_engine import FunasrRecogniser
from models.transcriber.voices import SileroVoices
from offline.speech.evaluate import Said, spoken_test
from offline.speech.render import LANGUAGES

DEMO = "demo"
SHAPES: dict[str, dict[str, Any] | None] = {
    DEMO: None,
    "SenseVoiceSmall, a fifth of its layers": {
        "output_size": 512, "attention_heads": 4, "linear_units": 2048, "num_blocks": 10, "tp_blocks": 4, "kernel_size": 11,
    },
}  # fmt: skip
STRETCHES, ROUNDS = 32, 2
SENTENCES = 200
THREADS = 1
AT_LEAST = 1.7
AS_TORCH = {"both": 100.0, "float32": 100.0, "int8": 98.0}
MOST_WRONG = 3.0
Way = tuple[str, int]
"""A side, and how many stretches it is given at a time at most."""


def run() -> list[Row]:
    """Seconds of sound heard per CPU second, by shape, precision and way; texts of the demo, by precision."""
    rows, told = [], [said for language in LANGUAGES for said in spoken_test(language, range(SENTENCES))]
    again = 0.0
    for name, sizes in SHAPES.items():
        with tempfile.TemporaryDirectory(prefix="tagstream-bench-") as scratch:
            demo = name == DEMO
            directory = write_demo(Path(scratch, "torch")) if demo else write_random(Path(scratch, "torch"), sizes)
            torch = FunasrRecogniser(speech_files(directory, TORCH), threads=THREADS)
            sides: dict[Precision, OnnxRecogniser] = {
                precision: OnnxRecogniser(export(directory, Path(scratch, precision), precision=precision), THREADS)
                for precision in (("both", "float32", "int8") if demo else ("float32", "int8"))
            }
            ways: dict[Way, Recogniser] = {("torch", torch.batch): torch, ("torch", 1): torch}
            ways |= {(precision, side.batch): side for precision, side in sides.items()}
            sounds = [said.sound for said in told] if demo else _sounds(STRETCHES)
            speeds = _speeds(ways, sounds)
            if demo:
                rows += _texts({way[0]: side for way, side in ways.items()}, told)
                again = _heard_again(sides["both"], [said.sound for said in told])
        ours = {way[0]: speed for way, speed in speeds.items() if way[0] != "torch"}
        notes = dict.fromkeys(ours, "trained weights" if demo else "random weights")
        if not demo:
            ours["both"] = 1 / (1 / ours["int8"] + again / ours["float32"])
            notes["both"] = f"reckoned from int8 and float32: {again:.1%} heard again, as of the demo's test"
        rows += [
            Row(
                what=f"{name}, {precision}, {THREADS} thread, against {'batches of like length' if most > 1 else 'one at a time'}",
                unit="s of sound per CPU s",
                ours=ours[precision],
                peer=speeds["torch", most],
                peer_name=f"funasr AutoModel, float32, up to {most} at a time",
                ratio_at_least=AT_LEAST,
                note=notes[precision],
            )
            for precision in AS_TORCH
            for most in (torch.batch, 1)
        ]
    return rows


def _heard_again(both: OnnxRecogniser, sounds: Sequence[NDArray[np.float32]]) -> float:
    """Share of stretches."""
    before = both.heard_again
    both.recognise(sounds)
    return (both.heard_again - before) / len(sounds)


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


def _texts(sides: dict[str, Recogniser], told: Sequence[Said]) -> list[Row]:
    """How often each side says what torch says, and how well it hears."""
    heard: dict[str, list[str]] = {}
    for name, side in sides.items():
        found = SenseVoiceTranscriber(side, SileroVoices()).transcribe([said.sound for said in told])
        heard[name] = [" ".join(one.text for one in utterances) for utterances in found]
    wrong = {name: 100 * error_rate(zip((said.text for said in told), texts, strict=True)) for name, texts in heard.items()}
    rows = []
    for name, least in AS_TORCH.items():
        same = sum(ours == theirs for ours, theirs in zip(heard[name], heard["torch"], strict=True))
        what, note = f"{DEMO}, {name}, {len(told)} sentences of its test", "trained weights"
        rows += [
            Row(what=f"{what} that read as torch's", unit="%", ours=100 * same / len(told), at_least=least, note=note),
            Row(
                what=f"{what}, characters wrong", unit="%", ours=wrong[name], at_most=MOST_WRONG,
                peer=wrong["torch"], peer_name="funasr AutoModel, float32", note=note,
            ),
        ]  # fmt: skip
    return rows


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
