"""Pictures of the sample notes' objects: outlines filled with a colour and a pattern, on a plain background, with a Latin label.

Pixels are BGR uint8; everything random comes from the generator that is handed in, so the same call gives the same pixels.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Colour = NDArray[np.float32]
SIZE = 512
COLOURS = {
    "black": (38, 34, 32), "blush": (190, 190, 235), "brown": (52, 84, 128), "charcoal": (78, 70, 66), "cream": (205, 232, 245),
    "crimson": (52, 36, 188), "forest": (62, 104, 46), "gold": (82, 168, 208), "ivory": (222, 238, 244), "jade": (132, 168, 92),
    "lavender": (214, 168, 178), "mint": (190, 216, 160), "mustard": (52, 170, 220), "navy": (104, 58, 30), "olive": (62, 122, 118),
    "orange": (44, 128, 238), "plum": (102, 48, 108), "rose": (140, 110, 214), "sand": (160, 194, 214), "silver": (196, 192, 188),
    "sky": (226, 184, 124), "teal": (138, 130, 32), "terracotta": (72, 106, 198), "white": (248, 246, 244),
}  # fmt: skip
INK = (40, 34, 30)
PAPER = (246, 248, 250)
SHADOW = np.array([[1, 0, 8], [0, 1, 14]], np.float32)


class Look(NamedTuple):
    """What a note's attributes say about its pictures: names of ``silhouettes.yaml``, ``COLOURS`` and ``PATTERNS``, and the label."""

    object: str
    colour: str
    accent: str
    pattern: str
    label: str


class Placing(NamedTuple):
    """Where an object goes: its centre and size in parts of the picture, its turn in degrees."""

    x: float
    y: float
    size: float
    turn: float = 0.0


@cache
def silhouettes() -> dict[str, list[str]]:
    """Parts of each object, as written in ``silhouettes.yaml``."""
    shapes: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "silhouettes.yaml").read_text(encoding="utf-8"))
    return shapes


def background(look: Look, rng: np.random.Generator, flip: bool = False) -> Image:
    """A soft gradient in a tint of the accent (of the colour with ``flip``), a horizon and a little grain."""
    tint = np.array(COLOURS[look.colour if flip else look.accent], np.float32)
    pale = 0.22 * tint + 0.78 * 244
    x, y = (axis / SIZE for axis in _grid())
    glow = np.exp(-((x - 0.5 + 0.2 * rng.uniform(-1, 1)) ** 2 + (y - 0.4) ** 2) * 3)
    brightness = (0.84 + 0.16 * glow) * np.where(y > 0.74, 0.93, 1).astype(np.float32)
    grain = rng.standard_normal((SIZE, SIZE), np.float32) * 2.2
    picture: Image = np.clip(pale * brightness[:, :, None] + grain[:, :, None], 0, 255).astype(np.uint8)
    return picture


def draw_object(picture: Image, look: Look, placing: Placing) -> None:
    """Paints the object onto the picture in place: a shadow, then its parts in order.

    Raises:
        KeyError: for an object, colour or pattern that does not exist.
    """
    parts = [part.split() for part in silhouettes()[look.object]]
    masks = [(tone, _mask(shape, numbers, placing)) for tone, shape, *numbers in parts]
    whole = np.maximum.reduce([mask for _, mask in masks])
    shadow = cv2.GaussianBlur(cv2.warpAffine(whole, SHADOW, (SIZE, SIZE)), (0, 0), 13)
    _blend(picture, np.zeros(3, np.float32), (shadow * 0.35).astype(np.uint8))
    fills = _fills(look)
    for tone, mask in masks:
        _blend(picture, fills[tone], mask, _daylight())


def draw_label(picture: Image, text: str, dark: bool) -> None:
    """Writes the label in a rounded box at the bottom, as wide as the text needs."""
    scale = min(1.0, 13 / len(text))
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 2)
    left, base = (SIZE - width) // 2, SIZE - 26
    box = _mask("box", [f"{left - 16},{base - height - 13}", f"{left + width + 16},{base + 13}", "9"], None)
    _blend(picture, np.array(INK if dark else PAPER, np.float32), (box * 0.9).astype(np.uint8))
    cv2.putText(picture, text, (left, base), cv2.FONT_HERSHEY_DUPLEX, scale, PAPER if dark else INK, 2, cv2.LINE_AA)


def _fills(look: Look) -> dict[str, Colour]:
    """Colour by tone: shape (3,), for main (SIZE, SIZE, 3)."""
    main = np.array(COLOURS[look.colour], np.float32)
    accent = np.array(COLOURS[look.accent], np.float32)
    stroke = accent if look.pattern in ("stripe", "dots", "floral") else main * 0.72
    strength = _strength(look.pattern)[:, :, None]
    fills = {"accent": accent, "dark": main * 0.62, "light": main * 0.6 + 100, "ink": np.array(INK), "paper": np.array(PAPER)}
    fills["main"] = main + (stroke - main) * strength
    return {tone: np.asarray(fill, np.float32) for tone, fill in fills.items()}


@cache
def _daylight() -> NDArray[np.float32]:
    """Brightness factor: lighter at the upper left."""
    x, y = _grid()
    return np.asarray(1.1 - 0.12 * (x + y) / SIZE, np.float32)


@cache
def _strength(pattern: str) -> NDArray[np.float32]:
    """How much of the second colour a pattern shows, 0 to 1."""
    return PATTERNS[pattern]()


@cache
def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    along = np.arange(SIZE, dtype=np.float32)
    x, y = np.meshgrid(along, along)
    return x, y


def _plain() -> NDArray[np.float32]:
    return np.zeros((SIZE, SIZE), np.float32)


def _stripe() -> NDArray[np.float32]:
    x, y = _grid()
    return np.asarray(((x * 0.4 + y) % 34 < 11) * 0.85, np.float32)


def _dots() -> NDArray[np.float32]:
    x, y = _grid()
    row = np.floor(y / 24)
    return np.asarray((((x + 14 * (row % 2)) % 28 - 14) ** 2 + (y % 24 - 12) ** 2 < 30) * 0.9, np.float32)


def _mesh() -> NDArray[np.float32]:
    x, y = _grid()
    return np.asarray((np.abs(np.sin((x + y) * 0.42)) * np.abs(np.sin((x - y) * 0.42))) ** 2 * 0.8, np.float32)


def _weave() -> NDArray[np.float32]:
    x, y = _grid()
    turn = (np.floor(x / 9) + np.floor(y / 9)) % 2
    return np.asarray(0.3 + 0.3 * np.where(turn > 0, np.sin(x * 1.4), np.sin(y * 1.4)), np.float32)


def _wood() -> NDArray[np.float32]:
    x, y = _grid()
    return np.asarray(0.3 + 0.3 * np.sin(y * 0.3 + 2.4 * np.sin(x * 0.013) + np.sin(y * 0.07)), np.float32)


def _speckle() -> NDArray[np.float32]:
    noise = np.random.default_rng(11).random((SIZE // 3 + 1, SIZE // 3 + 1)).astype(np.float32)
    return np.asarray((cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) > 0.93) * 0.8, np.float32)


def _gradient() -> NDArray[np.float32]:
    return np.asarray(_grid()[1] / SIZE * 0.9, np.float32)


def _floral() -> NDArray[np.float32]:
    x, y = _grid()
    u, v = x % 58 - 29, y % 58 - 29
    return np.asarray((np.hypot(u, v) < 9 + 7 * np.cos(5 * np.arctan2(v, u))) * 0.75, np.float32)


PATTERNS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "plain": _plain, "stripe": _stripe, "dots": _dots, "mesh": _mesh, "weave": _weave, "wood": _wood, "speckle": _speckle,
    "gradient": _gradient, "floral": _floral,
}  # fmt: skip


def _mask(shape: str, numbers: list[str], placing: Placing | None) -> Image:
    """Coverage (0 to 255) of one part; without a placing the numbers are pixels."""
    values = [[float(v) for v in number.split(",")] for number in numbers]
    width = values.pop(0)[0] if shape == "line" else 0.0
    points = _outline(shape, values)
    scale = 1.0
    if placing:
        scale = placing.size * SIZE / 100
        turn = np.deg2rad(placing.turn)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = (points - 50) @ rotation.T * scale + np.array([placing.x, placing.y]) * SIZE
    fixed = np.round(points * 16).astype(np.int32)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if shape == "line":
        cv2.polylines(mask, [fixed], False, 255, max(1, round(width * scale)), cv2.LINE_AA, 4)
    else:
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
    return mask


def _outline(shape: str, values: list[list[float]]) -> Points:
    """Corner points of a part in its own coordinates, shape (n, 2)."""
    if shape == "oval":
        (cx, cy), (rx, ry), (angle,) = values
        t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        a = np.deg2rad(angle)
        u, v = rx * np.cos(t), ry * np.sin(t)
        return np.stack([cx + u * np.cos(a) - v * np.sin(a), cy + u * np.sin(a) + v * np.cos(a)], axis=1)
    if shape == "box":
        (x0, y0), (x1, y1), (radius,) = values
        centres = ((x1 - radius, y1 - radius), (x0 + radius, y1 - radius), (x0 + radius, y0 + radius), (x1 - radius, y0 + radius))
        t = np.linspace(0, np.pi / 2, 9)
        arcs = [
            np.stack([x + radius * np.cos(t + i * np.pi / 2), y + radius * np.sin(t + i * np.pi / 2)], 1)
            for i, (x, y) in enumerate(centres)
        ]
        return np.concatenate(arcs)
    corners = np.array(values)
    return corners if shape == "poly" else _smooth(corners, closed=shape == "blob")


def _smooth(corners: Points, closed: bool) -> Points:
    """Catmull-Rom spline through the corners, 10 points a segment."""
    around = np.concatenate([corners[-1:], corners, corners[:2]] if closed else [corners[:1], corners, corners[-1:]])
    t = np.linspace(0, 1, 10)[:, None]
    pieces = []
    for p0, p1, p2, p3 in zip(around, around[1:], around[2:], around[3:], strict=False):
        pieces.append(0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3))
    return np.concatenate(pieces)


def _blend(picture: Image, fill: Colour, mask: Image, light: NDArray[np.float32] | None = None) -> None:
    """Lays ``fill`` (one colour, or a colour a pixel) over the picture where the mask covers it, in place."""
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return
    region = (slice(y, y + height), slice(x, x + width))
    colour = fill[region] if fill.ndim == 3 else fill
    if light is not None:
        colour = colour * light[region][:, :, None]
    alpha = mask[region].astype(np.float32)[:, :, None] / 255
    under = picture[region].astype(np.float32)
    picture[region] = np.clip(under + (colour - under) * alpha, 0, 255).astype(np.uint8)
