"""A sample of tag data: a note, what was seen and heard of it, and its tags. Whatever makes, splits, learns or judges tag data reads these.

A file of samples is JSON lines; pictures lie in files beside it, named by their content, so that several sets share them. What stands in a
sample is what a tagger is given online, so nothing has to be fetched or decoded again.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray
from PIL import Image

from models.roles import NoteMedia, SeenImage, Spoken
from offline.json_lines import read_records, write_records
from offline.whole_file import write_whole
from schemas.errors import MissingPrerequisite
from schemas.events import EvidenceSource, NoteEvent

PICTURES = "pictures"


class Told(Struct, frozen=True):
    """A tag to learn, as a model writes it (``models.prompts.schema``); most important first in a sample."""

    text: str
    dimension: str
    source: EvidenceSource


class Picture(Struct, frozen=True):
    """``file``: relative to the directory of the samples. ``source``, ``position``: as in ``models.roles.SeenImage``."""

    file: str
    source: EvidenceSource
    position: int


class Sample(Struct, frozen=True, kw_only=True):
    """``degraded`` names media that could not be had. ``tags``: empty where they are not known yet."""

    note: NoteEvent
    pictures: list[Picture] = field(default_factory=list)
    speech: list[Spoken] = field(default_factory=list)
    tags: list[Told] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples of a file, one at a time.

    Raises:
        MissingPrerequisite: when the file is absent.
        BadSetting: naming the line that is no sample.
    """
    return read_records(path, Sample, "make tag data with `tagstream offline tag-data extract NOTES --out DIR`")


def write_samples(path: Path, samples: Iterable[Sample]) -> int:
    """Writes a file whole, or leaves the one before; returns how many."""
    return write_records(path, samples)


def keep_picture(directory: Path, seen: SeenImage) -> Picture:
    """Writes a picture without loss, once for each content."""
    digest = hashlib.blake2b(seen.pixels.tobytes() + repr(seen.pixels.shape).encode(), digest_size=12).hexdigest()
    file = Path(PICTURES) / digest[:2] / f"{digest}.webp"
    if not (directory / file).is_file():
        buffer = io.BytesIO()
        Image.fromarray(seen.pixels).save(buffer, format="WEBP", lossless=True, quality=0, method=0)
        _put(directory / file, buffer.getvalue())
    return Picture(str(file), seen.source, seen.position)


def keep_file(directory: Path, path: Path, source: EvidenceSource, position: int) -> Picture:
    """Copies a picture's file as it is, once for each content."""
    data = path.read_bytes()
    digest = hashlib.blake2b(data, digest_size=12).hexdigest()
    file = Path(PICTURES) / digest[:2] / f"{digest}{path.suffix}"
    _put(directory / file, data)
    return Picture(str(file), source, position)


def share_pictures(sample: Sample, directory: Path, other: Path) -> None:
    """Lets another directory hold a sample's pictures too, without copying them where both lie on one disk.

    Raises:
        MissingPrerequisite: when one is absent.
    """
    for one in sample.pictures:
        path, there = directory / one.file, other / one.file
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, there)
            except FileNotFoundError:
                raise _absent(path) from None
            except OSError:
                _put(there, path.read_bytes())


def media_of(sample: Sample, directory: Path) -> NoteMedia:
    """The sample's media as a tagger takes them.

    Raises:
        MissingPrerequisite: when a picture's file is absent.
    """
    images = [SeenImage(pixels_of(directory / one.file), one.source, one.position) for one in sample.pictures]
    return NoteMedia(images, list(sample.speech), list(sample.degraded))


def answer_text(tags: Sequence[Told]) -> str:
    """Tags as a model is to write them, in the order of the answer's schema."""
    told = [{"text": tag.text, "dimension": tag.dimension, "source": tag.source} for tag in tags]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """RGB pixels of a picture's file, uint8, (height, width, 3).

    Raises:
        MissingPrerequisite: when it is absent.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError:
        raise _absent(path) from None


def _put(path: Path, data: bytes) -> None:
    if not path.is_file():
        write_whole(path, data)


def _absent(path: Path) -> MissingPrerequisite:
    return MissingPrerequisite(f"{path} is missing; copy the folder {PICTURES} along with the samples")
