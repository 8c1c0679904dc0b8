"""Still images, decoded within bounds: the header's size is believed before any pixel is, and then held."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import InvalidMedia, MediaTooLarge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF")


def open_picture(path: Path, max_pixels: int, out_pixels: int) -> "NDArray[np.uint8]":
    """The image in RGB, uint8, (height, width, 3), upright by its EXIF note, on white where it is transparent; of an animation the
    first frame.

    Args:
        path: a local file.
        max_pixels: width x height that is decoded at all.
        out_pixels: width x height that is returned; larger images are scaled down.

    Raises:
        MediaTooLarge: with ``pixels``, from the header alone.
        InvalidMedia: not one of ``FORMATS``, truncated or damaged.
    """
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as picture:
            warnings.simplefilter("ignore")
            width, height = picture.size
            if width * height > max_pixels:
                raise MediaTooLarge("pixels", f"{width} x {height} pixels, at most {max_pixels}")
            scale = min(1.0, (out_pixels / (width * height)) ** 0.5)
            size = (max(1, int(width * scale)), max(1, int(height * scale)))
            picture.draft("RGB", size)
            seen = picture if picture.mode in ("RGB", "RGBA", "L") else picture.convert("RGBA" if _transparent(picture) else "RGB")
            if seen.size[0] * seen.size[1] > out_pixels:
                seen = seen.resize(size, Image.Resampling.BOX if scale < 0.25 else Image.Resampling.BICUBIC)
            seen.getexif()[0x0112] = picture.getexif().get(0x0112, 1)
            seen = ImageOps.exif_transpose(seen)
            if seen.mode == "RGBA":
                seen = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
            return np.array(seen.convert("RGB"), np.uint8)
    except MediaTooLarge:
        raise
    except Image.DecompressionBombError:
        raise MediaTooLarge("pixels", f"far more than {max_pixels} pixels") from None
    except (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, OverflowError) as error:
        raise InvalidMedia(f"no image that can be decoded ({type(error).__name__})") from None


def _transparent(picture: object) -> bool:
    return "transparency" in getattr(picture, "info", {}) or getattr(picture, "mode", "") in ("LA", "PA", "La", "RGBa")
