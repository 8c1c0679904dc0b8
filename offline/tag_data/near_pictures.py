"""Near-duplicate pictures among many: the perceptual hash of the frame sampler for structure, a thumbnail for colour.

Two pictures are near-duplicates when at most ``APART`` of the 64 bits differ and the colours of their thumbnails, on average, by at most
``COLOUR``: another size, file format or quality of the same picture passes, another thing photographed the same way does not. Pictures with
hardly any contrast are left out: their bits are noise.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.frames.look import BLANK_DEVIATION, perceptual_hash
from offline.tag_data.samples import pixels_of

APART = 3
COLOUR = 3.0  # of 255, a channel of Lab
THUMB = 4
BANDS = APART + 1  # of two hashes that differ in APART bits at least one band is the same
BAND_BITS = 64 // BANDS
KEPT = "picture_looks.txt"


class PictureLook(NamedTuple):
    """``bits``: perceptual hash. ``thumb``: Lab of 4 x 4 fields, row by row, a byte each."""

    bits: int
    thumb: bytes


def picture_look(pixels: NDArray[np.uint8]) -> PictureLook | None:
    """How RGB pixels, (height, width, 3), look; None where there is nothing to see."""
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    if gray.std() < BLANK_DEVIATION:
        return None
    small = cv2.resize(pixels, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    packed = np.packbits(perceptual_hash(gray)).tobytes()
    return PictureLook(int.from_bytes(packed), cv2.cvtColor(small, cv2.COLOR_RGB2LAB).tobytes())


def picture_looks(directory: Path, files: Sequence[str], advance: Callable[[], None] | None = None) -> dict[str, PictureLook | None]:
    """The looks of picture files, which lie below the directory. They are kept there, so a run that was stopped goes on.

    Raises:
        MissingPrerequisite: when a file is absent.
    """
    known = dict(_kept(directory / KEPT))
    with (directory / KEPT).open("a") as keep:
        for file in files:
            if file not in known:
                look = known[file] = picture_look(pixels_of(directory / file))
                keep.write(f"{file} {look.bits:016x} {look.thumb.hex()}\n" if look else f"{file} - -\n")
            if advance:
                advance()
    return {file: known[file] for file in files}


def near_duplicates(looks: Sequence[PictureLook | None]) -> Iterator[tuple[int, int]]:
    """Pairs of near-duplicates that connect them all."""
    first: dict[PictureLook, int] = {}
    for number, look in enumerate(looks):
        if look is not None and first.setdefault(look, number) != number:
            yield first[look], number
    distinct = list(first)
    bits = np.array([look.bits for look in distinct], np.uint64)
    thumbs = np.array([list(look.thumb) for look in distinct], np.int16).reshape(len(distinct), 3 * THUMB**2)
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, look in enumerate(distinct):
        for band in range(BANDS):
            buckets[band, look.bits >> (band * BAND_BITS) & (2**BAND_BITS - 1)].append(number)
    pairs: set[tuple[int, int]] = set()
    for bucket in buckets.values():
        for place in range(1, len(bucket)):
            one, before = bucket[place], np.array(bucket[:place])
            near = before[np.bitwise_count(bits[before] ^ bits[one]) <= APART]
            near = near[np.abs(thumbs[near] - thumbs[one]).mean(axis=1) <= COLOUR]
            pairs.update((first[distinct[other]], first[distinct[one]]) for other in near)
    yield from sorted(pairs)


def _kept(path: Path) -> Iterator[tuple[str, PictureLook | None]]:
    """What a former run wrote; its last line may have been cut off."""
    if not path.is_file():
        return
    text = path.read_text()
    whole = text.rfind("\n") + 1
    if whole < len(text):
        path.write_text(text[:whole])
    for line in text[:whole].splitlines():
        file, bits, thumb = line.split(" ")
        yield file, None if bits == "-" else PictureLook(int(bits, 16), bytes.fromhex(thumb))
