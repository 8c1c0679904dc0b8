"""Near-duplicate pictures: the same picture in another size or quality, not another thing."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.roles import SeenImage
from offline.tag_data import near_pictures
from offline.tag_data.links import Link, components
from offline.tag_data.near_pictures import APART, COLOUR, KEPT, PictureLook, near_duplicates, picture_look, picture_looks
from offline.tag_data.samples import keep_picture, pixels_of

Pixels = NDArray[np.uint8]


def scene(seed: int, side: int = 96) -> Pixels:
    """Blurred coloured patches."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def again(pixels: Pixels, side: int, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_another_size_and_quality_is_the_same_picture_and_another_colour_is_not() -> None:
    looks = [
        picture_look(scene(1)),
        picture_look(again(scene(1), 64, 60)),
        picture_look(scene(1)[..., ::-1].copy()),
        picture_look(scene(2)),
    ]
    assert list(near_duplicates(looks)) == [(0, 1)]
    assert looks[0] is not None and looks[2] is not None


def test_nothing_to_see_ties_nothing() -> None:
    blank = picture_look(np.full((20, 20, 3), 200, np.uint8))
    assert blank is None and list(near_duplicates([blank, blank])) == []


def test_the_same_are_tied_as_by_comparing_every_pair() -> None:
    chance = np.random.default_rng(3)
    looks = []
    for _ in range(40):
        bits, thumb = int(chance.integers(0, 2**63)), chance.integers(20, 230, 48)
        for flips in (0, 0, 1, 2, 3, 4, 5):
            changed = bits
            for place in chance.choice(63, flips, replace=False):
                changed ^= 1 << int(place)
            looks.append(PictureLook(changed, bytes((thumb + chance.integers(0, 8, 48)).astype(np.uint8).tolist())))
    every = [(a, b) for a in range(len(looks)) for b in range(a) if same(looks[a], looks[b])]
    found = list(near_duplicates(looks))
    assert len(every) > 40 and all(same(looks[a], looks[b]) for a, b in found)
    tied = [components(len(looks), [Link("picture", *pair) for pair in pairs]) for pairs in (found, every)]
    assert tied[0] == tied[1]


def same(one: PictureLook, other: PictureLook) -> bool:
    apart = np.abs(np.array(list(one.thumb), int) - np.array(list(other.thumb), int)).mean()
    return (one.bits ^ other.bits).bit_count() <= APART and apart <= COLOUR


def test_looks_are_kept_and_a_torn_line_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [keep_picture(tmp_path, SeenImage(pixels, "image", 0)).file for pixels in (scene(1), scene(2), np.zeros((9, 9, 3), np.uint8))]
    looks = picture_looks(tmp_path, files)
    assert looks[files[2]] is None and looks[files[0]] == picture_look(scene(1))
    opened: list[Path] = []

    def counted(path: Path) -> Pixels:
        opened.append(path)
        return pixels_of(path)

    monkeypatch.setattr(near_pictures, "pixels_of", counted)
    assert picture_looks(tmp_path, files) == looks and not opened
    (tmp_path / KEPT).write_text((tmp_path / KEPT).read_text()[:-20])
    assert picture_looks(tmp_path, files) == looks and len(opened) == 1
    assert picture_looks(tmp_path, files) == looks and len(opened) == 1
