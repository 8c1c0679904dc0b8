"""SenseVoice through onnxruntime, without torch and funasr: our front end, the exported network, greedy CTC, sentencepiece.

A quantised network takes one stretch at a time: it quantises activations by the largest value in the whole batch, so that a text would
depend on its neighbours.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.transcriber.files import QUANTISED, SpeechFiles
from models.transcriber.front_end import FrontEnd, read_cmvn
from schemas.errors import BadSetting

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = NDArray[np.float32]
BATCH = 4
"""The fastest of 1, 4 and 16 on one core."""
BLANK = 0
AUTO_LANGUAGE, WITH_ITN = 0, 14
"""Rows of the network's table of queries, fixed by funasr: find the language out, write numbers and halts as one writes them."""


class OnnxRecogniser:
    """A recogniser on an exported SenseVoice.

    Args:
        files: with an ONNX file.
        threads: threads of one call; 0 = all cores.

    Raises:
        BadSetting: when the file is no exported SenseVoice.
    """

    def __init__(self, files: SpeechFiles, threads: int = 1) -> None:
        from sentencepiece import SentencePieceProcessor

        self.version = files.version()
        self.batch = 1 if files.weights.name == QUANTISED else BATCH
        self._front_end = FrontEnd(files.front_end, read_cmvn(files.cmvn))
        self._pieces: Any = SentencePieceProcessor(model_file=str(files.pieces))
        self._session = _session(files, threads)

    def recognise(self, pieces: Sequence[Floats]) -> Sequence[object]:
        """See ``pipeline.Recogniser``."""
        if not pieces:
            return []
        features = [self._front_end.features(piece) for piece in pieces]
        logits, lengths = self._session.run(None, _inputs(features))
        return [self.text(row[:length].argmax(axis=-1)) for row, length in zip(logits, lengths.tolist(), strict=True)]

    def text(self, path: NDArray[np.int64]) -> str:
        """The text of the likeliest piece per frame: repeats are one, blanks are none; what is no piece is left out."""
        kept = path[np.concatenate([[True], path[1:] != path[:-1]])] if len(path) else path
        size = self._pieces.get_piece_size()
        return str(self._pieces.decode([piece for piece in kept.tolist() if piece != BLANK and 0 <= piece < size]))


def _inputs(features: Sequence[Floats]) -> dict[str, NDArray[Any]]:
    lengths = np.array([len(item) for item in features], np.int32)
    speech = np.zeros((len(features), int(lengths.max()), features[0].shape[1]), np.float32)
    for row, item in enumerate(features):
        speech[row, : len(item)] = item
    language, textnorm = (np.full(len(features), value, np.int32) for value in (AUTO_LANGUAGE, WITH_ITN))
    return {"speech": speech, "speech_lengths": lengths, "language": language, "textnorm": textnorm}


def _session(files: SpeechFiles, threads: int) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(files.weights), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise BadSetting(f"transcriber_model: {files.weights} cannot be opened by onnxruntime ({type(error).__name__})") from None
    if {item.name for item in session.get_inputs()} != {"speech", "speech_lengths", "language", "textnorm"}:
        raise BadSetting(f"transcriber_model: {files.weights} is no exported SenseVoice; `tagstream offline transcriber export` makes one")
    return session
