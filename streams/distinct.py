"""How many different ids were seen, in a bounded number of bytes: HyperLogLog with 64-bit hashes.

Flajolet et al. 2007; the estimate is the improved raw one of Ertl 2017 (arXiv 1702.01284, algorithm 6), which needs no bias tables. It is a
function of the set alone: the order of arrival and how the set was split and merged change nothing. The Apache DataSketches library was
tried instead; its estimate of one and the same set depends on the order of arrival.
"""

import hashlib
import math
import zlib

PRECISION = 14
REGISTERS = 1 << PRECISION
RANKS = 64 - PRECISION


class Distinct:
    """A set's sketch. The standard error of ``count`` is about 0.8 %, less for small sets."""

    __slots__ = ("_registers",)

    def __init__(self, packed: bytes = b"") -> None:
        """``packed``: what ``pack`` gave; empty for the empty set.

        Raises:
            ValueError: the bytes are not a sketch.
        """
        try:
            self._registers = bytearray(zlib.decompress(packed) if packed else REGISTERS)
        except zlib.error as error:
            raise ValueError(f"not a sketch: {error}") from None
        if len(self._registers) != REGISTERS:
            raise ValueError(f"not a sketch: {len(self._registers)} registers instead of {REGISTERS}")

    def add(self, identifier: str) -> None:
        """Takes an id; one that was taken before changes nothing."""
        hashed = int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "big")
        place, rest = hashed >> RANKS, hashed & ((1 << RANKS) - 1)
        rank = RANKS - rest.bit_length() + 1
        self._registers[place] = max(self._registers[place], rank)

    def merge(self, other: "Distinct") -> None:
        """Takes everything that another sketch took."""
        self._registers = bytearray(map(max, self._registers, other._registers))

    def count(self) -> float:
        """Estimated number of different ids."""
        counts = [0] * (RANKS + 2)
        for rank in self._registers:
            counts[rank] += 1
        total = REGISTERS * _tau(1 - counts[RANKS + 1] / REGISTERS)
        for rank in range(RANKS, 0, -1):
            total = 0.5 * (total + counts[rank])
        total += REGISTERS * _sigma(counts[0] / REGISTERS)
        return REGISTERS * REGISTERS / (2 * math.log(2) * total)

    def pack(self) -> bytes:
        """As bytes, small for small sets; equal sets give equal bytes."""
        return zlib.compress(bytes(self._registers), 6)


def _sigma(share: float) -> float:
    if share == 1.0:
        return math.inf
    factor, total = 1.0, share
    while True:
        share *= share
        before, total = total, total + share * factor
        factor += factor
        if total == before:
            return total


def _tau(share: float) -> float:
    if share in (0.0, 1.0):
        return 0.0
    factor, total = 1.0, 1 - share
    while True:
        share = math.sqrt(share)
        factor *= 0.5
        before, total = total, total - (1 - share) ** 2 * factor
        if total == before:
            return total / 3
