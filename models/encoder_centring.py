"""Encoders whose vectors all point much the same way, made comparable with those whose do not.

Of some encoders two texts that have nothing to do with each other have a cosine of .8, and two languages lie apart. What all vectors have
in common says nothing: the mean is taken away (Mu and Viswanath 2018), and the direction from one language's mean to the other's
(Libovický et al. 2020), both measured on pairs that say the same in English and Chinese.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_PAIRS = Path(__file__).parent / "lexicon" / "pairs.yaml"


class Centring(Struct, frozen=True, dict=True):
    """What is taken away. ``mean``: of the vectors, (dimension,); ``language``: unit direction, (dimension,), empty for one language."""

    mean: list[float]
    language: list[float] = []

    @cached_property
    def arrays(self) -> tuple[Vectors, Vectors]:
        """Mean and direction, made arrays once."""
        return np.array(self.mean, np.float32), np.array(self.language, np.float32)


def measure_centring(encode: Callable[[Sequence[str]], Vectors], knows_cjk: bool) -> Centring:
    """The centring of an encoder; without Chinese for one that does not know it."""
    import yaml

    english, chinese = zip(*yaml.safe_load(_PAIRS.read_text()), strict=True)
    one = encode(english).mean(axis=0, dtype=np.float64)
    if not knows_cjk:
        return Centring(one.tolist())
    other = encode(chinese).mean(axis=0, dtype=np.float64)
    apart = one - other
    return Centring(((one + other) / 2).tolist(), (apart / max(float(np.linalg.norm(apart)), 1e-12)).tolist())


def centred(vectors: Vectors, centring: Centring) -> Vectors:
    """Unit rows without what all have in common, (texts, dimension); each row by itself, in one fixed order."""
    mean, language = centring.arrays
    left = vectors - mean
    if len(language):
        left -= (left * language).sum(axis=1, keepdims=True) * language
    lengths = np.sqrt(np.square(left).sum(axis=1, keepdims=True))
    return np.asarray(left / np.maximum(lengths, np.float32(1e-12)), np.float32)
