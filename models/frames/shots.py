"""Frames in order of time, cut into takes: by hard boundaries, and within a shot wherever the picture has drifted away from its start.

A boundary is a difference to the frame before that stands out from the differences just before it (adaptive), so a fast pan has none.
A drift ends a take without a boundary: a slow pan and both sides of a dissolve each get takes of their own.
"""

from collections import deque

import numpy as np
from msgspec import Struct

from models.frames.look import Look, distance, hsv_difference, look_at
from models.frames.video import Image

LEAST_DIFFERENCE = 9.0
STANDS_OUT = 3.0
MEMORY = 8
DRIFT = 0.6


class Take(Struct):
    """A stretch of one shot that looks alike; ``image`` (BGR) and ``look`` are of its sharpest frame. Blank only if all of it is."""

    shot: int
    start_ms: int
    end_ms: int
    position_ms: int
    image: Image
    look: Look
    anchor: Look
    scanned: int = 1

    @property
    def length_ms(self) -> int:
        """From its first frame looked at to its last."""
        return self.end_ms - self.start_ms


class Cutter:
    """Takes frames one by one and gives back each take when it ends. Holds one image."""

    def __init__(self) -> None:
        self._shot = 0
        self._take: Take | None = None
        self._before: Look | None = None
        self._recent: deque[float] = deque(maxlen=MEMORY)
        self.blank: Take | None = None

    def add(self, image: Image, position_ms: int, after_gap: bool = False) -> Take | None:
        """The next frame; ``after_gap``: frames between it and the last one were not looked at. Returns a take that ended."""
        look = look_at(image)
        fresh = Take(self._shot, position_ms, position_ms, position_ms, image, look, look)
        if look.blank:
            self.blank = self.blank or fresh
            return None
        take, before, self._before = self._take, self._before, look
        if take is None or before is None:
            self._take = fresh
            return None
        drifted = far(look, take.anchor)
        boundary = drifted if after_gap else self._boundary(hsv_difference(before, look))
        if not boundary and not drifted:
            _extend(take, fresh)
            return None
        self._shot += boundary
        fresh.shot = self._shot
        self._take = fresh
        return take

    def finish(self) -> Take | None:
        """The take under way; of an all blank video its first frame."""
        return self._take or self.blank

    def _boundary(self, difference: float) -> bool:
        usual = float(np.mean(self._recent)) if self._recent else 0.0
        found = difference > max(LEAST_DIFFERENCE, STANDS_OUT * usual)
        if not found:
            self._recent.append(difference)
        return found


def far(one: Look, other: Look) -> bool:
    """Whether two frames of a shot no longer show the same."""
    return bool(distance(one, other.thumb[None], other.bits[None])[0] > DRIFT)


def _extend(take: Take, fresh: Take) -> None:
    take.end_ms = fresh.end_ms
    take.scanned += 1
    if fresh.look.sharpness > take.look.sharpness:
        take.image, take.look, take.position_ms = fresh.image, fresh.look, fresh.position_ms
