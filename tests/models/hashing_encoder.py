"""A tag encoder without a model: hashed words and character pairs, so that phrases sharing words are close."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class HashingEncoder:
    """``texts`` counts what was asked for: a measure of work."""

    dimension = 64
    version = "hashing-1"

    def __init__(self) -> None:
        self.texts = 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += len(texts)
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for piece in [*re.findall(r"\w+", text.lower()), *(text[i : i + 2] for i in range(len(text)))]:
                code = zlib.crc32(piece.encode("utf-8", "replace"))
                rows[row, code % self.dimension] += 1.0 if code & 1024 else -1.0
            rows[row, 0] += 0.1
            rows[row] /= np.sqrt((rows[row] * rows[row]).sum())
        return rows
