"""SenseVoice by funasr, in torch. funasr is imported here and only when a model without an ONNX file is loaded: that takes seconds."""

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.transcriber.files import SpeechFiles

Floats = NDArray[np.float32]
BATCH = 16


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
    with contextlib.redirect_stdout(sys.stderr):
        from funasr import AutoModel

        model = AutoModel(model=str(files.directory), device=device, ncpu=threads, disable_update=True, disable_pbar=True, disable_log=True, log_level="ERROR")
    logging.getLogger().setLevel(level)
    model.kwargs["frontend"].dither = 0.0
    return model
