"""All chance of the simulated community: a sequence of numbers per (seed, stream, index), the same on every machine and with every numpy.

The numbers are the raw output of Philox 4x64-10 (Salmon et al. 2011), a counter-based generator. numpy fixes that output for good, unlike
that of its distributions, so everything beyond it is written here. The sequence of index i is row i of a table and does not depend on
which other indices are asked for.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

ROWS, WIDTH = 64, 128
BLOCKS_KEPT = 128
SEED_MAX = 2**63 - 1
T = TypeVar("T")


class Stream(IntEnum):
    """What the numbers are for; streams of one seed are independent. The values are part of the format: never renumber them."""

    NOTE = 1
    AUTHOR = 2
    PRODUCT = 3
    READER = 4
    SESSION = 5
    MEDIA = 6
    ROUND = 7
    CIRCLE = 8
    TEACHER = 9


class Draws:
    """The sequence of one (seed, stream, index), read from its start."""

    __slots__ = ("_at", "_index", "_page", "_row", "_seed", "_stream")

    def __init__(self, seed: int, stream: Stream, index: int) -> None:
        self._seed, self._stream, self._index = seed, stream, index
        self._page = 0
        self._row = _row(seed, stream, index, 0)
        self._at = 0

    def uniform(self) -> float:
        """A number in [0, 1), a multiple of 2^-53."""
        if self._at == WIDTH:
            self._page += 1
            self._row = _row(self._seed, self._stream, self._index, self._page)
            self._at = 0
        value = self._row[self._at]
        self._at += 1
        return value

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.uniform() < probability

    def below(self, bound: int) -> int:
        """An integer in [0, bound), each as likely (to within bound / 2^53)."""
        return int(self.uniform() * bound)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.uniform()

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(self.uniform() * len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """``count`` different ones of the options (all where there are fewer), in random order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]

    def skewed(self, bound: int) -> int:
        """An integer in [0, bound) where low ones come oftener: P(below x) = sqrt(x / bound)."""
        return int(self.uniform() ** 2 * bound)

    def bell(self) -> float:
        """A number in (-3, 3) with mean 0 and standard deviation 1/2: three uniform ones summed, so no library's logarithm has a say."""
        return self.uniform() + self.uniform() + self.uniform() - 1.5


def _row(seed: int, stream: int, index: int, page: int) -> list[float]:
    row: list[float] = _block(seed, stream, page, index // ROWS)[index % ROWS].tolist()
    return row


@lru_cache(maxsize=BLOCKS_KEPT)
def _block(seed: int, stream: int, page: int, number: int) -> Any:
    """Numbers of ``ROWS`` consecutive indices, float64 (ROWS, WIDTH)."""
    key, counter = np.array([seed, stream + (page << 32)], np.uint64), np.array([0, number, 0, 0], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(ROWS * WIDTH)
    return ((raw >> np.uint64(11)) * 2.0**-53).reshape(ROWS, WIDTH)
