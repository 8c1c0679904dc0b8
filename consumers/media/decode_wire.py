"""What the decoding process is asked and answers: plain data, so that a broken decoder cannot hand back code."""

from msgspec import Struct

from models.frames import FrameSpec
from models.sound import SoundSpec


class Ask(Struct, frozen=True, kw_only=True):
    """One file. ``sound``: its sound, by that spec. Else ``budget`` 0: a still image, or so many frames of a video."""

    path: str
    budget: int = 0
    max_pixels: int = 0
    out_pixels: int = 0
    spec: FrameSpec | None = None
    sound: SoundSpec | None = None


class Pixels(Struct, frozen=True):
    """An RGB image, row by row."""

    height: int
    width: int
    data: bytes
    position_ms: int = 0
    shot: int = 0


class Answer(Struct, frozen=True, kw_only=True):
    """``failed``: ``pixels``, ``frames``, ``duration`` or ``undecodable``, with ``detail``; else images, or ``sound``: float32
    samples as ``models.sound.Sound``. ``cut`` as in ``Sampled`` and ``Sound``."""

    images: list[Pixels] = []
    sound: bytes = b""
    cut: str = ""
    failed: str = ""
    detail: str = ""
