"""Draws the sample notes' images and clips from their attributes: ``python -m offline.samples.render OUT_DIR``.

Every picture is a function of the note and of its file's name, so a second run gives the same pixels. Images are 512 x 512 JPEG: the first
shows the object with its label, the second comes close, the third lays three of them out. Clips are 320 x 320 MP4 (mpeg4), 12 frames a
second, one shot a view with hard cuts between them. ``manifest.json`` in OUT_DIR keeps what each file was drawn from and its SHA-256; a
file that still matches is left alone.
"""

import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress

from offline.samples.drawing import SIZE, Image, Look, Placing, background, draw_label, draw_object
from offline.samples.load import HERE, MEDIA_PREFIX, sample_notes
from offline.whole_file import whole_file
from schemas.errors import MissingPrerequisite
from schemas.events import NoteEvent

MANIFEST = "manifest.json"
CLIP_SIZE, CLIP_FPS, SHOT_FRAMES = 320, 12, 13
JPEG_QUALITY = 88


class Drawing(NamedTuple):
    """One media file to draw. ``name`` ends in ``-VIEW.jpg`` or ``.mp4``."""

    name: str
    look: Look


class Rendered(NamedTuple):
    """Names of the media files drawn by a run, and of those that were there already."""

    drawn: list[str]
    kept: list[str]


def render_media(out: Path, advance: Callable[[int, int], None] | None = None) -> Rendered:
    """Draws what is missing or changed in ``out`` for every sample note.

    Args:
        out: directory of the media; made where it is absent.
        advance: called after each file with the number done and the total.

    Raises:
        MissingPrerequisite: when this OpenCV cannot write the clips.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest_path = out / MANIFEST
    known: dict[str, dict[str, str]] = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
    source = _source_digest()
    result = Rendered([], [])
    drawings = list(planned())
    try:
        for done, drawing in enumerate(drawings, start=1):
            plan = hashlib.sha256(json.dumps([source, *drawing]).encode()).hexdigest()
            path = out / drawing.name
            entry = known.get(drawing.name)
            if entry and entry["plan"] == plan and path.exists() and _digest(path) == entry["sha256"]:
                result.kept.append(drawing.name)
            else:
                _write(path, drawing)
                known[drawing.name] = {"plan": plan, "sha256": _digest(path)}
                result.drawn.append(drawing.name)
            if advance:
                advance(done, len(drawings))
    finally:
        manifest_path.write_text(json.dumps({name: known[name] for name in sorted(known)}, indent=0) + "\n")
    return result


def planned() -> Iterator[Drawing]:
    """Every media file that the sample notes name, once."""
    seen: set[str] = set()
    for note in sample_notes():
        for uri in (*note.images, *note.videos):
            name = uri.removeprefix(MEDIA_PREFIX)
            if name not in seen:
                seen.add(name)
                yield Drawing(name, look_of(note))


def look_of(note: NoteEvent) -> Look:
    """What the note's attributes say about its pictures."""
    return Look(**{field: note.attributes[field] for field in Look._fields})


def draw_view(look: Look, view: int, seed: int) -> Image:
    """One still, shape (512, 512, 3), BGR. ``view``: 0 whole object with label, 1 close, 2 three of them on the other colour."""
    rng = np.random.default_rng(seed)
    picture = background(look, rng, flip=view == 2)
    if view == 0:
        draw_object(picture, look, Placing(0.5, 0.44, 0.76, rng.uniform(-3, 3)))
        draw_label(picture, look.label, dark=False)
    elif view == 1:
        draw_object(picture, look, Placing(0.5 + rng.uniform(-0.08, 0.08), 0.52, 1.5, rng.uniform(-14, 14)))
        draw_label(picture, look.label, dark=True)
    else:
        for x, y, turn in ((0.28, 0.3, -16), (0.72, 0.34, 12), (0.5, 0.7, 2)):
            draw_object(picture, look, Placing(x, y, 0.44, turn + rng.uniform(-6, 6)))
    return picture


def clip_frames(look: Look, seed: int) -> Iterator[Image]:
    """The frames of a clip, shape (320, 320, 3): the camera comes nearer, pans over the close view, turns over the three."""
    for view in range(3):
        yield from shot_frames(draw_view(look, view, seed + view), view)


def shot_frames(still: Image, view: int) -> Iterator[Image]:
    """One shot of a clip made of a still, the camera moving as becomes the view."""
    for step in np.linspace(0, 1, SHOT_FRAMES):
        turn, zoom, shift = ((0, 1 + 0.22 * step, 0), (0, 1.2, 46 * (step - 0.5)), (14 * (step - 0.5), 1.14, 0))[view]
        move = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), turn, zoom * CLIP_SIZE / SIZE)
        move[:, 2] += (CLIP_SIZE - SIZE) / 2
        move[0, 2] += shift
        yield cv2.warpAffine(still, move, (CLIP_SIZE, CLIP_SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)


def write_clip(path: Path, frames: Iterable[Image]) -> None:
    """Frames of shape (CLIP_SIZE, CLIP_SIZE, 3) as an MP4 file.

    Raises:
        MissingPrerequisite: when this OpenCV cannot write it.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), CLIP_FPS, (CLIP_SIZE, CLIP_SIZE))
    if not writer.isOpened():
        raise MissingPrerequisite("this OpenCV cannot write MP4 (mp4v); install opencv-python from the package index")
    for frame in frames:
        writer.write(frame)
    writer.release()


def _write(path: Path, drawing: Drawing) -> None:
    """Draws one file; it appears under its name when it is whole."""
    seed = zlib.crc32(drawing.name.encode())
    with whole_file(path) as part:
        if path.suffix == ".mp4":
            write_clip(part, clip_frames(drawing.look, seed))
        else:
            view = int(path.stem.rpartition("-")[2])
            cv2.imwrite(str(part), draw_view(drawing.look, view, seed), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _source_digest() -> str:
    """Changes with anything that changes pixels, so that old drawings are drawn again."""
    sources = (HERE / name for name in ("drawing.py", "render.py", "silhouettes.yaml"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources) + cv2.__version__.encode()).hexdigest()


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
def render(out: Path) -> None:
    """Draws the sample notes' media into OUT; files that are there already are kept.

    Example: python -m offline.samples.render .tagstream/media
    """
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("drawing", total=None)
        result = render_media(out, lambda done, total: progress.update(task, completed=done, total=total))
    console.print(f"{len(result.drawn)} files drawn, {len(result.kept)} kept in {out}", highlight=False)


if __name__ == "__main__":
    render()
