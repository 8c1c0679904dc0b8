"""Still images: decoded within bounds, upright, in RGB."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.picture import open_picture
from schemas.errors import InvalidMedia, MediaTooLarge
from tests.consumers.media_server import png, png_bomb


def saved(tmp_path, image, name, **options):
    path = tmp_path / f"picture.{name.lower()}"
    image.save(path, name, **options)
    return path


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF"])
def test_every_format_gives_rgb(tmp_path, name):
    image = Image.new("RGB", (40, 20), (250, 20, 20))
    pixels = open_picture(saved(tmp_path, image, name), 10_000, 10_000)
    assert pixels.shape == (20, 40, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int).mean(axis=(0, 1)) - (250, 20, 20)).max() < 8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "F"])
def test_every_mode_gives_rgb(tmp_path, mode):
    name = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
    path = saved(tmp_path, Image.new(mode, (8, 6)), name)
    if name == "TIFF":
        with pytest.raises(InvalidMedia):
            open_picture(path, 1000, 1000)
    else:
        assert open_picture(path, 1000, 1000).shape == (6, 8, 3)


def test_what_is_transparent_is_white(tmp_path):
    path = saved(tmp_path, Image.new("RGBA", (4, 4), (200, 0, 0, 0)), "PNG")
    assert (open_picture(path, 100, 100) == 255).all()


def test_a_picture_stands_upright(tmp_path):
    image = Image.new("RGB", (40, 20), "white")
    image.paste((0, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    for most in (10_000, 200):
        pixels = open_picture(saved(tmp_path, image, "JPEG", exif=exif, quality=95), 10_000, most)
        height, width = pixels.shape[:2]
        assert height > width and height * width <= most
        assert pixels[: height // 2 - 1].mean() < 40 and pixels[height // 2 + 1 :].mean() > 215


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_large_pictures_come_smaller(tmp_path, name):
    pixels = open_picture(saved(tmp_path, Image.new("RGB", (1000, 500)), name), 10**6, 20_000)
    assert pixels.shape[0] * pixels.shape[1] <= 20_000 and pixels.shape[1] == pytest.approx(2 * pixels.shape[0], abs=2)


@pytest.mark.parametrize(("width", "height", "words"), [(12_000, 6_000, "12000 x 6000"), (100_000, 100_000, "far more than 50000000")])
def test_too_many_pixels_are_refused_by_the_header_alone(tmp_path, width, height, words):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(width, height))
    with pytest.raises(MediaTooLarge, match=words) as caught:
        open_picture(path, 50_000_000, 1000)
    assert caught.value.what == "pixels"


def test_a_picture_that_lacks_pixels_is_refused(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(png_bomb(1000, 1000))
    with pytest.raises(InvalidMedia):
        open_picture(path, 10**6, 1000)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8))
    path = saved(tmp_path, noise, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InvalidMedia):
        open_picture(path, 10**6, 10**6)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP"]),
    at=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20),
    keep=st.floats(0.1, 1.0),
)
def test_damaged_bytes_give_a_picture_or_a_clear_error(tmp_path, data, at, keep):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png(30, 30))).convert("RGB").save(buffer, data)
    damaged = bytearray(buffer.getvalue())
    for place, value in at:
        damaged[int(place * (len(damaged) - 1))] = value
    path = tmp_path / "damaged"
    path.write_bytes(bytes(damaged[: int(keep * len(damaged))]))
    try:
        pixels = open_picture(path, 100_000, 1000)
    except InvalidMedia:
        return
    assert pixels.ndim == 3 and pixels.shape[0] * pixels.shape[1] <= 1000
