"""What a frame looks like, small enough to keep for every frame: colour, structure, sharpness."""

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

HSV_SIZE = (64, 36)
THUMB = 12
SHARP_WIDTH = 320
HASH_SIDE = 8
BLANK_DEVIATION = 6.0
COLOUR_SPAN = 0.16
HASH_SPAN = 26.0


class Look(Struct, frozen=True, gc=False):
    """``hsv``: (36, 64, 3) float32, for differences of neighbours. ``thumb``: (432,) float32 in [0, 1], Lab. ``bits``: (64,) perceptual
    hash. ``sharpness``: variance of the Laplacian. ``blank``: hardly any contrast (black, white, one colour), so nothing to see."""

    hsv: NDArray[np.float32]
    thumb: NDArray[np.float32]
    bits: NDArray[np.bool_]
    sharpness: float
    blank: bool


def look_at(image: NDArray[np.uint8]) -> Look:
    """The look of a BGR image."""
    height, width = image.shape[:2]
    if width > SHARP_WIDTH:
        size = (SHARP_WIDTH, max(1, round(height * SHARP_WIDTH / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(image, HSV_SIZE, interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_BGR2HSV).astype(np.float32)
    lab = cv2.resize(cv2.cvtColor(small, cv2.COLOR_BGR2LAB), (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return Look(
        hsv,
        (lab.astype(np.float32) / 255).ravel(),
        perceptual_hash(gray),
        float(cv2.Laplacian(gray, cv2.CV_64F).var()),
        bool(gray.std() < BLANK_DEVIATION),
    )


def perceptual_hash(gray: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """64 bits: the lowest 8 x 8 cosine frequencies but for the constant, each above their median or not."""
    side = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(side)[:HASH_SIDE, :HASH_SIDE].ravel()
    bits: NDArray[np.bool_] = low > np.median(low[1:])
    bits[0] = False
    return bits


def hsv_difference(one: Look, other: Look) -> float:
    """Mean change of hue, saturation and value per pixel, in [0, 255]; the hue of grey pixels does not count."""
    apart = np.abs(one.hsv - other.hsv)
    hue = np.minimum(apart[..., 0], 180 - apart[..., 0]) * (255 / 90)
    hue *= np.minimum(one.hsv[..., 1], other.hsv[..., 1]) / 255
    return float((hue.mean() + apart[..., 1].mean() + apart[..., 2].mean()) / 3)


def distance(look: Look, thumbs: NDArray[np.float32], bits: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How different ``look`` is from each of some others, in [0, 1]: by colour or by structure, whichever tells more."""
    colour = np.abs(thumbs - look.thumb).mean(axis=1) / COLOUR_SPAN
    structure = (bits != look.bits).sum(axis=1) / HASH_SPAN
    return np.asarray(np.minimum(np.maximum(colour, structure), 1.0), np.float32)
