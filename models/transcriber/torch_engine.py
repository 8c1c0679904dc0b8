"""SenseVoice by funasr, in torch. funasr is imported here and only when a model without an ONNX file is loaded.

``import funasr`` imports every module it has, 5,000 with those that they want: 22 s of CPU. What SenseVoice needs takes 7.
"""

import contextlib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.transcriber.files import SpeechFiles

Floats = NDArray[np.float32]
BATCH = 16
MODULES = ("funasr.models.sense_voice.model", "funasr.frontends.wav_frontend", "funasr.tokenizer.sentencepiece_tokenizer")


class FunasrRecogniser:
    """A recogniser on ``funasr.AutoModel``.

    Args:
        files: of the model.
        device: torch device.
        threads: torch threads, for the whole process.
    """

    batch = BATCH

    def __init__(self, files: SpeechFiles, device: str = "cpu", threads: int = 1) -> None:
        self.version = files.version()
        self.model: Any = open_funasr(files, device, threads)

    def recognise(self, pieces: Sequence[Floats]) -> Sequence[object]:
        """See ``pipeline.Recogniser``."""
        if not pieces:
            return []
        least = 400
        given = [np.pad(piece, (0, max(0, least - len(piece)))) for piece in pieces]
        with contextlib.redirect_stdout(sys.stderr):
            found = self.model.generate(input=given, batch_size=len(given), language="auto", use_itn=True, disable_pbar=True)
        return [item.get("text") if isinstance(item, dict) else None for item in found]


def open_funasr(files: SpeechFiles, device: str = "cpu", threads: int = 1) -> Any:
    """The ``AutoModel`` of a directory, without asking any network, and without dither: the same sound gives the same text."""
    import logging

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    import_funasr()
    with contextlib.redirect_stdout(sys.stderr):
        from funasr import AutoModel

        model = AutoModel(
            model=str(files.directory),
            device=device,
            ncpu=threads,
            disable_update=True,
            disable_pbar=True,
            disable_log=True,
            log_level="ERROR",
        )
    logging.getLogger().setLevel(level)
    model.kwargs["frontend"].dither = 0.0
    return model


def import_funasr() -> None:
    """funasr with what SenseVoice needs of it: its walk over all its modules finds none."""
    if "funasr" not in sys.modules:
        walk = pkgutil.walk_packages
        pkgutil.walk_packages = lambda *_: iter(())
        try:
            importlib.import_module("funasr")
        finally:
            pkgutil.walk_packages = walk
    with contextlib.redirect_stdout(sys.stderr):
        for name in MODULES:
            importlib.import_module(name)
