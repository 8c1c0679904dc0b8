"""What the demo model sees of a simulated note: its pictures, and one frame a shot, small, as the online path would open them."""

import io
import itertools
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from offline.samples.render import JPEG_QUALITY, draw_view, shot_frames
from offline.simulate.render import picture
from offline.simulate.truth import Truth
from offline.whole_file import write_whole
from schemas.events import EvidenceSource

SIDE = 160  # pixels; the model's whole budget per picture, 25 tokens
WEBP_QUALITY = 75
SHOT_MS = 1083  # of a clip's shots, offline.samples.render
_MIDDLE = 6


class Seen(NamedTuple):
    """A picture of a note: ``name`` of its file, and where it belongs, as in ``models.roles.SeenImage``."""

    name: str
    source: EvidenceSource
    position: int


def pictures_of(truth: Truth) -> list[Seen]:
    """The note's pictures, then one of each shot."""
    images = [Seen(f"{truth.note_id}-{view}", "image", view) for view in range(len(truth.images))]
    shots = [Seen(f"{truth.note_id}-shot-{number}", "video", number * SHOT_MS + SHOT_MS // 2) for number in range(len(truth.shots))]
    return images + shots


def draw_pictures(truth: Truth, directory: Path) -> None:
    """Draws what is missing of ``pictures_of`` into the directory, as WebP of SIDE x SIDE pixels."""
    for number, seen in enumerate(pictures_of(truth)):
        path = directory / f"{seen.name}.webp"
        if path.exists():
            continue
        is_shot = seen.source == "video"
        drawn = _shot(truth, number - len(truth.images)) if is_shot else _as_jpeg(picture(truth, seen.position))
        buffer = io.BytesIO()
        Image.fromarray(cv2.cvtColor(drawn, cv2.COLOR_BGR2RGB)).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(
            buffer, format="WEBP", quality=WEBP_QUALITY
        )
        write_whole(path, buffer.getvalue())


def open_small(data: bytes) -> NDArray[np.uint8]:
    """RGB pixels of a picture that ``draw_pictures`` wrote."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _as_jpeg(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As it looks after the file that ``offline.simulate.render`` writes."""
    _, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _shot(truth: Truth, number: int) -> NDArray[np.uint8]:
    """The middle frame of a shot."""
    view = ((0, 0, 1) if len(truth.shots) == 3 else (0, 1))[number]
    look = truth.shots[number].look
    seed = _seed(f"{truth.note_id}-shot-{number}")
    return next(itertools.islice(shot_frames(draw_view(look, view, seed), view), _MIDDLE, None))


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())
