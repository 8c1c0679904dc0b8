"""Pictures, clips and voices of simulated notes, drawn from their truth with the drawings of ``offline/samples``.

A file is a function of the note's truth and of its name. Pixels before compression are the same everywhere; the bytes of a JPEG, MP4 or
WAV file depend on the versions of OpenCV and espeak-ng.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec

from offline.samples.drawing import Image
from offline.samples.render import JPEG_QUALITY, draw_view, shot_frames, write_clip
from offline.simulate.notes import SimulatedNote
from offline.simulate.truth import Truth
from offline.simulate.voice import espeak, speak
from offline.whole_file import whole_file
from schemas.events import NoteEvent


def render_note(note: SimulatedNote, directory: Path) -> NoteEvent:
    """Draws a note's media into ``directory``, which exists, and returns the event with their absolute ``file:`` URIs.

    Files that are there already are kept. Without espeak-ng the note goes without its voice.

    Raises:
        MissingPrerequisite: when this OpenCV cannot write clips, or espeak-ng does not know a voice.
    """
    event, truth = note
    images = []
    for view in range(len(truth.images)):
        path = directory / f"{truth.note_id}-{view}.jpg"
        if not path.exists():
            with whole_file(path) as part:
                cv2.imwrite(str(part), picture(truth, view), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        images.append(path)
    clips = [directory / f"{truth.note_id}.mp4"] if truth.shots else []
    for path in clips:
        if not path.exists():
            with whole_file(path) as part:
                write_clip(part, clip(truth))
    voices = [directory / f"{truth.note_id}.wav"] if truth.voice and espeak() else []
    for path in voices:
        if truth.voice and not path.exists():
            speak(truth.spoken, truth.language, truth.voice, path)
    return msgspec.structs.replace(event, images=_uris(images), videos=_uris(clips), audios=_uris(voices))


def picture(truth: Truth, view: int) -> Image:
    """Image ``view`` of a note, shape (512, 512, 3), BGR: the whole with its label, close, three of them."""
    return draw_view(truth.images[view].look, view, _seed(f"{truth.note_id}-{view}"))


def clip(truth: Truth) -> Iterator[Image]:
    """Frames of a note's clip, shape (320, 320, 3): the whole, the companion (if there is one), close."""
    views = (0, 0, 1) if len(truth.shots) == 3 else (0, 1)
    for number, (scene, view) in enumerate(zip(truth.shots, views, strict=True)):
        yield from shot_frames(draw_view(scene.look, view, _seed(f"{truth.note_id}-shot-{number}")), view)


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def _uris(paths: list[Path]) -> list[str]:
    return [path.resolve().as_uri() for path in paths]
