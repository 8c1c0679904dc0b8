"""SenseVoice through onnxruntime, without torch and funasr: our front end, the exported network, greedy CTC, sentencepiece.

A quantised network takes one stretch at a time: it quantises activations by the largest value in the whole batch, so that a text would
depend on its neighbours. Where the network in float32 is there too, it hears a stretch again whose text hangs on less than quantising may
change: some frame's second piece is nearly as likely as its first, and would make another text. So texts are those of float32 while most
of the work is done in int8.
"""

from collections.abc import Sequence
from pathlib import Path
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
DOUBT = 0.5
"""Logits between a frame's first and second piece. Of 618 stretches that were kept to choose by int8 read nine otherwise than float32, on
margins of up to .12; 8 % have one below .5 (offline/LOG.md)."""
BLANK = 0
AUTO_LANGUAGE, WITH_ITN = 0, 14
"""Rows of the network's table of queries, fixed by funasr: find the language out, write numbers and halts as one writes them."""


class OnnxRecogniser:
    """A recogniser on an exported SenseVoice. ``heard_again``: how many stretches float32 heard after int8.

    Args:
        files: with an ONNX file.
        threads: threads of one call; 0 = all cores.

    Raises:
        BadSetting: when the file is no exported SenseVoice.
    """

    def __init__(self, files: SpeechFiles, threads: int = 1) -> None:
        from sentencepiece import SentencePieceProcessor

        self.version = files.version()
        self.batch = 1 if files.weights.name == QUANTISED and not files.exact else BATCH
        self._front_end = FrontEnd(files.front_end, read_cmvn(files.cmvn))
        self._pieces: Any = SentencePieceProcessor(model_file=str(files.pieces))
        self._session = _session(files.weights, threads)
        self._exact = _session(files.exact, threads) if files.exact else None
        self.heard_again = 0

    def recognise(self, pieces: Sequence[Floats]) -> Sequence[object]:
        """See ``pipeline.Recogniser``."""
        if not pieces:
            return []
        features = [self._front_end.features(piece) for piece in pieces]
        if self._exact is None:
            return [self.text(logits.argmax(axis=-1)) for logits in _logits(self._session, features)]
        quick = [logits for item in features for logits in _logits(self._session, [item])]
        again = [at for at, logits in enumerate(quick) if doubtful(logits)]
        self.heard_again += len(again)
        sure = dict(zip(again, _logits(self._exact, [features[at] for at in again]), strict=True)) if again else {}
        return [self.text(sure.get(at, logits).argmax(axis=-1)) for at, logits in enumerate(quick)]

    def text(self, path: NDArray[np.int64]) -> str:
        """The text of the likeliest piece per frame: repeats are one, blanks are none; what is no piece is left out."""
        size = self._pieces.get_piece_size()
        return str(self._pieces.decode([piece for piece in _collapsed(path.tolist()) if 0 <= piece < size]))


def doubtful(logits: Floats, margin: float = DOUBT) -> bool:
    """Whether some frame's second piece is within ``margin`` of its first and, in its place, would change what is put out.

    Args:
        logits: (frames, pieces).
    """
    frames = np.arange(len(logits))
    path = logits.argmax(axis=-1)
    others = logits.copy()
    others[frames, path] = -np.inf
    second = others.argmax(axis=-1)
    near = np.flatnonzero(logits[frames, path] - logits[frames, second] < margin)
    around = np.concatenate([[BLANK], path, [BLANK]]).tolist()
    return any(_collapsed(around[at : at + 3]) != _collapsed([around[at], int(second[at]), around[at + 2]]) for at in near.tolist())


def _collapsed(path: Sequence[int]) -> list[int]:
    """Greedy CTC: repeats are one, blanks are none."""
    return [piece for at, piece in enumerate(path) if piece != BLANK and (not at or path[at - 1] != piece)]


def _logits(session: "InferenceSession", features: Sequence[Floats]) -> list[Floats]:
    logits, lengths = session.run(None, _inputs(features))
    return [row[:length] for row, length in zip(logits, lengths.tolist(), strict=True)]


def _inputs(features: Sequence[Floats]) -> dict[str, NDArray[Any]]:
    lengths = np.array([len(item) for item in features], np.int32)
    speech = np.zeros((len(features), int(lengths.max()), features[0].shape[1]), np.float32)
    for row, item in enumerate(features):
        speech[row, : len(item)] = item
    language, textnorm = (np.full(len(features), value, np.int32) for value in (AUTO_LANGUAGE, WITH_ITN))
    return {"speech": speech, "speech_lengths": lengths, "language": language, "textnorm": textnorm}


def _session(weights: Path, threads: int) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise BadSetting(f"transcriber_model: {weights} cannot be opened by onnxruntime ({type(error).__name__})") from None
    if {item.name for item in session.get_inputs()} != {"speech", "speech_lengths", "language", "textnorm"}:
        raise BadSetting(f"transcriber_model: {weights} is no exported SenseVoice; `tagstream offline transcriber export` makes one")
    return session
