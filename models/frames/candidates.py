"""Takes worth keeping: repeats are folded together, memory is bounded, and the final choice is what differs most, over the whole length."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.frames.look import distance
from models.frames.shots import Take

REPEAT = 0.35
TIME_WEIGHT = 0.35
SHORT_MS = 400


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
        """At most ``count`` takes in order of time: the longest first, then always the one that differs most from those chosen, in looks
        and, with less weight, in time; takes too short to be anything but a passage between two others count half."""
        if not self.takes:
            return []
        size = len(self.takes)
        lengths = np.array([take.length_ms for take in self.takes], np.float32)
        at = np.array([take.position_ms for take in self.takes], np.float32)
        spread = max(float(at.max() - at.min()) / count, 1.0)
        looks = np.minimum(self._apart[:size, :size], 1.0)
        worth = looks + TIME_WEIGHT * np.minimum(np.abs(at[:, None] - at[None]) / spread, 1.0)
        worth *= np.where(_passages(self.takes), 0.5, 1.0)[:, None]
        chosen = [int(lengths.argmax())]
        nearest = worth[:, chosen[0]].copy()
        while len(chosen) < min(count, size):
            nearest[chosen] = -1.0
            best = int(nearest.argmax())
            chosen.append(best)
            nearest = np.minimum(nearest, worth[:, best])
        return sorted((self.takes[index] for index in chosen), key=lambda take: take.position_ms)

    def _distances(self, take: Take) -> NDArray[np.float32]:
        if not self.takes:
            return np.zeros(0, np.float32)
        return distance(take.look, np.stack([kept.look.thumb for kept in self.takes]), np.stack([kept.look.bits for kept in self.takes]))

    def _repeat(self, kept: Take, again: Take) -> None:
        """The earlier take stands for both; it takes the later one's picture where that is clearly sharper."""
        kept.end_ms = max(kept.end_ms, kept.end_ms + again.length_ms)
        kept.scanned += again.scanned
        if again.look.sharpness > 1.5 * kept.look.sharpness:
            kept.image = shrink(again.image, self._frame_pixels)
            kept.position_ms, kept.shot = again.position_ms, again.shot

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


def _passages(takes: list[Take]) -> list[bool]:
    """Which takes are the middle of a transition: short, and of the same shot as a neighbour."""
    shots = [take.shot for take in takes]
    return [take.length_ms < SHORT_MS and shots.count(take.shot) > 1 for take in takes]


def shrink(image: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """The image, scaled down to at most ``pixels`` with its proportions kept."""
    height, width = image.shape[:2]
    if width * height <= pixels:
        return image
    scale = (pixels / (width * height)) ** 0.5
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
