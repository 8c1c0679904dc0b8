"""Near-duplicate texts among many: MinHash over character shingles, banded, each candidate then compared exactly.

Two texts are near-duplicates when the Jaccard similarity of their shingles is at least ``SIMILAR``. With 32 bands of 4 of 128 hashes a pair
of that similarity is overlooked once in 6,000, one of .8 once in ten million (Leskovec et al., Mining of Massive Datasets, 3.4).
Texts of fewer than ``SHORTEST`` shingles are no evidence of anything and never duplicates.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from models.text import has_han

SIMILAR = 0.7
SHORTEST = 12
HAN, LATIN = 3, 6  # characters of a shingle, by the script of its first
HASHES, BANDS = 128, 32
UNSURE = 0.16  # four standard deviations of a similarity estimated by 128 hashes
Shingles = NDArray[np.uint64]
_rng = np.random.default_rng(20_260_101)
_FACTORS = _rng.integers(0, 2**63, HASHES, np.uint64) * np.uint64(2) + np.uint64(1)
_TERMS = _rng.integers(0, 2**63, HASHES, np.uint64)


def shingles(text: str) -> Shingles:
    """Hashes of a text's shingles, sorted, each once. Case, width, spaces and signs do not count."""
    plain = "".join(one for one in unicodedata.normalize("NFKC", text).casefold() if one.isalnum())
    widths = [HAN if has_han(one) else LATIN for one in plain]
    found = {xxhash.xxh3_64_intdigest(plain[at : at + widths[at]].encode()) for at in range(len(plain) - HAN + 1)}
    return np.sort(np.fromiter(found, np.uint64, len(found)))


def similarity(left: Shingles, right: Shingles) -> float:
    """Jaccard similarity of two sets, in [0, 1]; 0 where either is empty."""
    if not len(left) or not len(right):
        return 0.0
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


def near_duplicates(texts: Sequence[Shingles], similar: float = SIMILAR) -> Iterator[tuple[int, int]]:
    """Pairs of near-duplicates that connect them all: who is reached over several pairs is not compared again."""
    groups = list(range(len(texts)))

    def root(one: int) -> int:
        while groups[one] != one:
            groups[one] = groups[groups[one]]
            one = groups[one]
        return one

    same: dict[bytes, int] = {}
    left: list[int] = []
    for number, text in enumerate(texts):
        if len(text) < SHORTEST:
            continue
        first = same.setdefault(text.tobytes(), number)
        if first == number:
            left.append(number)
        else:
            yield first, number
    hashes = np.array([(texts[number][None, :] * _FACTORS[:, None] + _TERMS[:, None]).min(axis=1) for number in left])
    for bucket in _buckets(hashes):
        for place in range(1, len(bucket)):
            one, before = bucket[place], np.array(bucket[:place])
            promising = before[(hashes[before] == hashes[one]).mean(axis=1) >= similar - UNSURE]
            for other in promising:
                if root(other) != root(one) and similarity(texts[left[one]], texts[left[other]]) >= similar:
                    groups[root(one)] = root(other)
                    yield left[other], left[one]


def _buckets(hashes: NDArray[np.uint64]) -> Iterator[list[int]]:
    """Rows that agree in a band."""
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, row in enumerate(hashes):
        for band, values in enumerate(row.reshape(BANDS, -1)):
            buckets[band, values.tobytes()].append(number)
    return (bucket for bucket in buckets.values() if len(bucket) > 1)
