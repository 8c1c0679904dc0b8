"""What the decoding process is asked and answers: plain data, so that a broken decoder cannot hand back code."""

from msgspec import Struct

from models.frames import FrameSpec


class Ask(Struct, frozen=True, kw_only=True):
    """One file. ``budget`` 0: a still image, else so many frames of a video."""

    path: str
    budget: int = 0
    max_pixels: int = 0
    out_pixels: int = 0
    spec: FrameSpec | None = None


class Pixels(Struct, frozen=True):
    """An RGB image, row by row."""

    height: int
    width: int
    data: bytes
    position_ms: int = 0
    shot: int = 0


class Answer(Struct, frozen=True, kw_only=True):
    """``failed``: ``pixels``, ``frames``, ``duration`` or ``undecodable``, with ``detail``; else images. ``cut`` as in ``Sampled``."""

    images: list[Pixels] = []
    cut: str = ""
    failed: str = ""
    detail: str = ""
