"""SenseVoice from torch to ONNX, and whether both say the same. Needs funasr; what is written runs without it."""

import contextlib
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from models.transcriber.distance import error_rate
from models.transcriber.files import CMVN, CONFIG, ONNX, QUANTISED, TORCH, Precision, SpeechFiles, speech_files
from models.transcriber.pipeline import SenseVoiceTranscriber
from models.transcriber.voices import SileroVoices

OPSET = 14
Floats = NDArray[np.float32]


class Difference(Struct, frozen=True):
    """A sound for which the two disagree; ``index`` among those given."""

    index: int
    torch: list[str]
    onnx: list[str]


class Parity(Struct, frozen=True):
    """How alike torch and onnxruntime hear. ``cer``: edits per character of torch's texts."""

    sounds: int
    same: int
    cer: float
    differences: list[Difference] = field(default_factory=list)


def export(directory: Path, out: Path, *, precision: Precision) -> SpeechFiles:
    """Writes the network as ``model.onnx``, quantised as ``model_quant.onnx``, or both, and beside it what else the texts depend on.

    Quantised are the weights of matrix products, by output channel; activations at run time.

    Args:
        directory: with ``model.pt``.
        out: made if need be; files there are replaced once the new ones are whole.
        precision: which of the two networks.

    Raises:
        BadSetting: when ``directory`` is no SenseVoice's.
    """
    files = speech_files(directory, TORCH)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        network = Path(scratch, ONNX)
        _trace(files, network)
        names = {"both": (ONNX, QUANTISED), "int8": (QUANTISED,), "float32": (ONNX,)}[precision]
        if QUANTISED in names:
            _quantise(network, Path(scratch, QUANTISED))
        for other in (ONNX, QUANTISED, TORCH):
            if out != directory or other in (ONNX, QUANTISED):
                (out / other).unlink(missing_ok=True)
        for name in names:
            Path(scratch, name).replace(out / name)
    if out.resolve() != directory.resolve():
        for source, target in ((directory / CONFIG, CONFIG), (files.cmvn, CMVN), (files.pieces, files.pieces.name)):
            shutil.copyfile(source, out / target)
    return speech_files(out)


def parity(directory: Path, exported: SpeechFiles, sounds: Sequence[Floats]) -> Parity:
    """Transcribes sounds both ways, on one thread each.

    Args:
        directory: with ``model.pt``.
        exported: what ``export`` returned.
        sounds: as ``models.roles.Transcriber`` takes them.
    """
    from models.transcriber.onnx_engine import OnnxRecogniser
    from models.transcriber.torch_engine import FunasrRecogniser

    voices = SileroVoices()
    recognisers = (FunasrRecogniser(speech_files(directory, TORCH)), OnnxRecogniser(exported))
    ours, theirs = (SenseVoiceTranscriber(recogniser, voices).transcribe(sounds) for recogniser in recognisers)
    texts = [([one.text for one in left], [one.text for one in right]) for left, right in zip(ours, theirs, strict=True)]
    differences = [Difference(index, left, right) for index, (left, right) in enumerate(texts) if left != right]
    cer = error_rate((" ".join(left), " ".join(right)) for left, right in texts)
    return Parity(len(sounds), len(sounds) - len(differences), round(cer, 5), differences)


def _trace(files: SpeechFiles, path: Path) -> None:
    import torch

    from models.transcriber.torch_engine import open_funasr

    model = open_funasr(files).model
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from funasr.models.sense_voice.export_meta import export_rebuild_model

        rebuilt = export_rebuild_model(model, device="cpu", max_seq_len=512)
        torch.onnx.export(
            rebuilt,
            rebuilt.export_dummy_inputs(),
            str(path),
            input_names=rebuilt.export_input_names(),
            output_names=rebuilt.export_output_names(),
            dynamic_axes=rebuilt.export_dynamic_axes(),
            opset_version=OPSET,
            dynamo=False,
        )


def _quantise(source: Path, target: Path) -> None:
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    finally:
        logger.setLevel(level)
