"""Takes worth keeping: repeats are folded together, memory is bounded, and the final choice is what differs most, over the whole length."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.frames.look import distance
from models.frames.shots import Take

REPEAT = 0.35
TIME_WEIGHT = 0.35
MOTION_MS = 700


class Candidates:
    """At most ``room`` takes, each with an image of at most ``frame_pixels``."""

    def __init__(self, room: int, frame_pixels: int) -> None:
        self.takes: list[Take] = []
        self._room = room
        self._frame_pixels = frame_pixels
        self._apart: NDArray[np.float32] = np.full((room + 1, room + 1), np.inf, np.float32)

    def add(self, take: Take) -> None:
        """Keeps a take, or counts it towards the earlier one that it repeats; beyond ``room`` the least telling take goes."""
        apart = self._distances(take)
        if len(apart) and apart.min() < REPEAT:
            self._repeat(self.takes[int(apart.argmin())], take)
            return
        take.image = shrink(take.image, self._frame_pixels)
        last = len(self.takes)
        self._apart[last, :last] = self._apart[:last, last] = apart
        self.takes.append(take)
        if len(self.takes) > self._room:
            self._drop()

    def choose(self, count: int) -> list[Take]:
        """At most ``count`` takes in order of time. Each shot's longest take comes first, then the others; among either, always the one
        that differs most from those chosen, in looks and, with less weight, in time."""
        if not self.takes:
            return []
        size = len(self.takes)
        at = np.array([take.position_ms for take in self.takes], np.float32)
        spread = max(float(at.max() - at.min()) / count, 1.0)
        apart = np.minimum(self._apart[:size, :size], 1.0) + TIME_WEIGHT * np.minimum(np.abs(at[:, None] - at[None]) / spread, 1.0)
        leading = _leading(self.takes)
        chosen = [max(leading, key=lambda index: self.takes[index].length_ms)]
        nearest = apart[:, chosen[0]].copy()
        for group in (leading, range(size)):
            left = [index for index in group if index not in chosen]
            while left and len(chosen) < count:
                best = max(left, key=lambda index: float(nearest[index]))
                left.remove(best)
                chosen.append(best)
                nearest = np.minimum(nearest, apart[:, best])
        return sorted((self.takes[index] for index in chosen), key=lambda take: take.position_ms)

    def _distances(self, take: Take) -> NDArray[np.float32]:
        if not self.takes:
            return np.zeros(0, np.float32)
        return distance(take.look, np.stack([kept.look.thumb for kept in self.takes]), np.stack([kept.look.bits for kept in self.takes]))

    def _repeat(self, kept: Take, again: Take) -> None:
        """The earlier take stands for both; it takes the later one's picture where that is clearly sharper."""
        kept.end_ms += again.length_ms
        kept.scanned += again.scanned
        shown = kept.passage and not again.passage
        if shown or (again.look.sharpness > 1.5 * kept.look.sharpness and not again.passage):
            kept.image = shrink(again.image, self._frame_pixels)
            kept.position_ms, kept.shot, kept.passage = again.position_ms, again.shot, again.passage

    def _drop(self) -> None:
        """Of the two takes most alike, near in time before far, the shorter one."""
        size = len(self.takes)
        at = np.array([take.position_ms for take in self.takes], np.float32)
        span = max(float(at.max() - at.min()), 1.0)
        alike = self._apart[:size, :size] + np.minimum(np.abs(at[:, None] - at[None]) / span * self._room, 1.0)
        np.fill_diagonal(alike, np.inf)
        one, other = divmod(int(alike.argmin()), size)
        gone = other if self.takes[other].length_ms <= self.takes[one].length_ms else one
        del self.takes[gone]
        left = [index for index in range(size) if index != gone]
        self._apart[: size - 1, : size - 1] = self._apart[np.ix_(left, left)]


def _leading(takes: list[Take]) -> list[int]:
    """The longest take of each shot. A shot of nothing but passages is one only if it lasts: then it is motion, else a transition."""
    shots: dict[int, list[int]] = {}
    for index, take in enumerate(takes):
        shots.setdefault(take.shot, []).append(index)
    best = []
    for members in shots.values():
        shown = [index for index in members if not takes[index].passage]
        lasts = max(takes[index].end_ms for index in members) - min(takes[index].start_ms for index in members)
        if shown or lasts >= MOTION_MS:
            best.append(max(shown or members, key=lambda index: takes[index].length_ms))
    return best or list(range(len(takes)))


def shrink(image: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """The image, scaled down to at most ``pixels`` with its proportions kept."""
    height, width = image.shape[:2]
    if width * height <= pixels:
        return image
    scale = (pixels / (width * height)) ** 0.5
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
