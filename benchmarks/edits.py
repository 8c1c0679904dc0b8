"""Synthetic edited videos with known shots: hard cuts, very short shots, fades, dissolves, flashes, pans, shaking, repeats, one long file.

Everything follows from the case and a seed. A scene is a drawn picture of its own (gradient, shapes, texture); a frame shows one scene
or, inside a transition, none. The same scene shown again is the same shot: showing it twice does not count twice.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 256, 144, 25
MARGIN = 256
Image = NDArray[np.uint8]
Motion = Literal["static", "pan", "shake"]
Enter = Literal["cut", "fade", "dissolve"]
TRANSITION = 12


class Shot(Struct, frozen=True):
    """``frames`` of a scene. ``enter``: how it follows the one before (a transition takes its first ``TRANSITION`` frames)."""

    scene: int
    frames: int
    motion: Motion = "static"
    enter: Enter = "cut"
    flash_at: int = -1


class Edit(Struct, frozen=True):
    """A case. ``budget``: frames that a sampler may take."""

    name: str
    shots: list[Shot]
    budget: int = 8
    fps: int = FPS

    def scene_at(self, position_ms: int) -> int | None:
        """The scene shown at a time; None on a flash and in the middle of a transition, where neither scene has three quarters."""
        number = round(position_ms * self.fps / 1000)
        for place, shot in enumerate(self.shots):
            if number < shot.frames:
                if shot.flash_at >= 0 and 0 <= number - shot.flash_at < 2:
                    return None
                if place == 0 or shot.enter == "cut" or number >= 0.75 * TRANSITION:
                    return shot.scene
                return self.shots[place - 1].scene if number < 0.25 * TRANSITION else None
            number -= shot.frames
        return None


def draw_scene(scene: int, seed: int) -> Image:
    """A picture wider than the frame by ``MARGIN``, so that a camera can move over it."""
    rng = np.random.default_rng([seed, scene])
    width = WIDTH + MARGIN
    corners = rng.integers(30, 225, (2, 3, 3)).astype(np.uint8)
    picture = cv2.resize(corners, (width, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grain = cv2.resize(rng.normal(0, 18, (HEIGHT // 4, width // 4)).astype(np.float32), (width, HEIGHT))
    picture = np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)
    for _ in range(14):
        colour = [int(value) for value in rng.integers(0, 255, 3)]
        x, y, size = int(rng.integers(0, width)), int(rng.integers(0, HEIGHT)), int(rng.integers(8, 36))
        if rng.random() < 0.5:
            cv2.circle(picture, (x, y), size, colour, -1)
        else:
            cv2.rectangle(picture, (x, y), (x + 2 * size, y + size), colour, -1)
    return np.asarray(picture, np.uint8)


def render(edit: Edit, seed: int) -> Iterator[Image]:
    """The frames of a case, BGR, with a little noise of the camera."""
    noise = np.random.default_rng([seed, 999])
    pictures: dict[int, Image] = {}
    before: Image | None = None
    for shot in edit.shots:
        if shot.scene not in pictures:
            pictures[shot.scene] = draw_scene(shot.scene, seed)
        frame: Image | None = None
        for number in range(shot.frames):
            frame = _view(pictures[shot.scene], shot, number)
            if before is not None and shot.enter != "cut" and number < TRANSITION:
                frame = _mixed(before, frame, (number + 1) / (TRANSITION + 1), shot.enter)
            if shot.flash_at >= 0 and 0 <= number - shot.flash_at < 2:
                frame = np.full_like(frame, 252)
            yield np.clip(frame + noise.integers(-2, 3, frame.shape[:2])[..., None], 0, 255).astype(np.uint8)
        before = frame


def _view(picture: Image, shot: Shot, number: int) -> Image:
    left = MARGIN // 2
    if shot.motion == "pan":
        left = number * MARGIN // max(shot.frames, 1)
    elif shot.motion == "shake":
        left += round(5 * np.sin(number * 0.7) + 3 * np.sin(number * 1.9))
    return picture[:, left : left + WIDTH]


def _mixed(before: Image, after: Image, share: float, enter: Enter) -> Image:
    if enter == "dissolve":
        return np.asarray(cv2.addWeighted(before, 1 - share, after, share, 0), np.uint8)
    shown, light = (before, 1 - 2 * share) if share < 0.5 else (after, 2 * share - 1)
    return (shown * light).astype(np.uint8)


def write(edit: Edit, seed: int, path: Path) -> Path:
    """Encodes a case: MPEG-4 for ``.mp4`` and ``.mkv``, Motion JPEG for ``.avi``."""
    fourcc = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, edit.fps, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise RuntimeError(f"no encoder for {path.suffix} in this OpenCV")
    try:
        for frame in render(edit, seed):
            writer.write(frame)
    finally:
        writer.release()
    return path


def cases(seed: int) -> list[Edit]:
    """Every kind of edit, its lengths drawn from ``seed``."""
    rng = np.random.default_rng(seed)

    def lengths(count: int, least: float, most: float) -> list[int]:
        return [int(FPS * length) for length in rng.uniform(least, most, count)]

    def shots(many: list[int], change: Callable[[Shot], Shot] = lambda shot: shot) -> list[Shot]:
        return [change(Shot(number, length)) for number, length in enumerate(many)]

    uneven = [*lengths(3, 0.8, 1.4), FPS * 20, *lengths(4, 0.8, 1.4)]
    short = [length for pair in zip(lengths(4, 2.0, 3.5), lengths(4, 0.24, 0.4), strict=True) for length in pair]
    talk = [0, 1] * 6 + [2] + [0, 1] * 3 + [3, 4, 0, 5]
    return [
        Edit("hard cuts", shots(lengths(12, 0.8, 2.5))),
        Edit("one long shot among short ones", shots(uneven)),
        Edit("very short shots", shots(short)),
        Edit("fades through black", shots(lengths(8, 1.2, 3.0), lambda shot: Shot(shot.scene, shot.frames, enter="fade"))),
        Edit("dissolves", shots(lengths(8, 1.2, 3.0), lambda shot: Shot(shot.scene, shot.frames, enter="dissolve"))),
        Edit("flashes", shots(lengths(6, 1.0, 3.5), lambda shot: Shot(shot.scene, shot.frames, flash_at=shot.frames // 2)), budget=6),
        Edit("slow pans", shots(lengths(4, 1.0, 6.0), lambda shot: Shot(shot.scene, shot.frames, motion="pan")), budget=5),
        Edit("shaking camera", shots(lengths(8, 0.6, 3.0), lambda shot: Shot(shot.scene, shot.frames, motion="shake"))),
        Edit("a single static shot", [Shot(0, FPS * 8)], budget=4),
        Edit("many repeats", [Shot(scene, length) for scene, length in zip(talk, lengths(len(talk), 0.6, 1.6), strict=True)], budget=6),
    ]


def long_case(seed: int, frames: int = 3000, fps: int = 5) -> Edit:
    """Forty shots of very different length at a low frame rate (ten minutes by default): more frames than a small budget decodes."""
    rng = np.random.default_rng([seed, 1])
    weights = rng.exponential(1.0, 40) + 0.15
    lengths = np.maximum((weights / weights.sum() * frames).astype(int), 10)
    return Edit("a long file, a fifth of it decoded", [Shot(number, int(length)) for number, length in enumerate(lengths)], 16, fps=fps)
