"""Frames in order of time, cut into takes: by hard boundaries, and within a shot wherever the picture has drifted away from its start.

A boundary is a difference to the frame before that stands out from the differences just before it (adaptive), so a fast pan has none.
A drift ends a take without a boundary: a slow pan and both sides of a dissolve each get takes of their own. A take that is calm while the
frames on the way to it were not is a new shot too: that is how a dissolve ends, and how a pan does not.
"""

from collections import deque
from statistics import median

import numpy as np
from msgspec import Struct, field

from models.frames.look import Look, distance, hsv_difference, look_at
from models.frames.video import Image

LEAST_DIFFERENCE = 9.0
LEAST_ARRIVAL = 2.5
RESTLESS = 4.0
SHORT_MS = 400
BEYOND, TWICE = 5.0, 2.0
STANDS_OUT = 3.0
MEMORY = 8
DRIFT = 0.6


class Take(Struct):
    """A stretch of one shot that looks alike. ``image`` (BGR) and ``look`` are of its sharpest frame, calm ones before moving ones;
    ``anchor`` is the look of its first. ``arrival``: mean difference of the last frames up to its start. ``passage``: a moment
    of constant change before a boundary, so the middle of a transition rather than something shown."""

    shot: int
    start_ms: int
    end_ms: int
    position_ms: int
    image: Image
    look: Look
    anchor: Look
    arrival: float = 0.0
    quality: float = 0.0
    scanned: int = 1
    passage: bool = False
    differences: list[float] = field(default_factory=list)

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
        self._blank: Take | None = None
        self._last = 0.0
        self._passing = False

    def add(self, image: Image, position_ms: int, after_gap: bool = False) -> Take | None:
        """The next frame; ``after_gap``: frames between it and the last one were not looked at. Returns a take that ended."""
        look = look_at(image)
        fresh = Take(self._shot, position_ms, position_ms, position_ms, image, look, look, quality=look.sharpness)
        if look.blank:
            self._blank = self._blank or fresh
            return None
        take, before, self._before = self._take, self._before, look
        if take is None or before is None:
            self._take = fresh
            return None
        difference = hsv_difference(before, look)
        drifted = far(look, take.anchor)
        boundary = drifted if after_gap else self._boundary(difference, take)
        if not boundary and not drifted:
            _extend(take, fresh, difference)
            self._last = difference
            return None
        self._settle(take, after_gap)
        going_on = take.passage and difference < STANDS_OUT * self._last
        fresh.shot = self._shot = take.shot + (boundary and not going_on)
        fresh.arrival = float(np.mean(self._recent)) if self._recent and not boundary else 0.0
        self._take, self._last = fresh, difference
        return take

    def finish(self) -> Take | None:
        """The take under way; of an all blank video its first frame."""
        if self._take is not None:
            self._settle(self._take, after_gap=True)
        return self._take or self._blank

    def _boundary(self, difference: float, take: Take) -> bool:
        """Right after a boundary a second one is the same transition going on, or fast motion: it counts as usual from then on."""
        usual = float(np.mean(self._recent)) if self._recent else LEAST_DIFFERENCE
        found = difference > max(LEAST_DIFFERENCE, BEYOND + TWICE * usual)
        if not found or take.scanned == 1:
            self._recent.append(difference)
        return found

    def _settle(self, take: Take, after_gap: bool) -> None:
        """Judges a take that ended: a passage, or the calm after a gradual transition, which is a new shot if no boundary said so."""
        usual = median(take.differences) if take.differences else LEAST_DIFFERENCE
        brief = take.length_ms < SHORT_MS
        take.passage = take.shot > 0 and not after_gap and brief and usual > RESTLESS
        calm_after = take.arrival > LEAST_ARRIVAL and bool(take.differences) and take.arrival > STANDS_OUT * usual
        if calm_after and not self._passing:
            take.shot += 1
        self._passing = take.passage
        take.differences = []


def far(one: Look, other: Look) -> bool:
    """Whether two frames of a shot no longer show the same."""
    return bool(distance(one, other.thumb[None], other.bits[None])[0] > DRIFT)


def _extend(take: Take, fresh: Take, difference: float) -> None:
    take.end_ms = fresh.end_ms
    take.scanned += 1
    take.differences.append(difference)
    quality = fresh.look.sharpness / (1.0 + difference) ** 2
    if quality > take.quality or take.scanned == 2:
        take.image, take.look, take.position_ms, take.quality = fresh.image, fresh.look, fresh.position_ms, quality
