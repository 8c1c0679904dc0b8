"""Notes to look at: where a model did worst and best, and where models differ most."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from PIL import Image

from models.handbook import load_handbook
from offline.judge.answers import Judged, read_judged
from offline.judge.files import Files
from offline.judge.readings import Kind, Reader
from offline.report.runs import label, worth
from offline.simulate.truth import Truth, truth_by_note
from offline.tag_data.samples import Sample, Told

PICTURES, SIDE, QUALITY = 4, 260, 72
REFERENCE = "reference"


class MarkedTag(Struct, frozen=True):
    """``kind``: what it says where the truth is known, else None; ``shared``: whether the reference has it too."""

    tag: Told
    kind: Kind | None
    shared: bool


class ShownAnswer(Struct, frozen=True):
    """``points``: what it is worth against the reference, None where nothing was judged; ``missing``: true tags that it lacks."""

    name: str
    tags: list[MarkedTag]
    points: float | None
    missing: list[str]


class Example(Struct, frozen=True):
    """``why`` it is shown. ``pictures``: data URLs with their source."""

    why: str
    sample: Sample
    pictures: list[tuple[str, str]]
    answers: list[ShownAnswer]


def examples(directory: Path, files: Files, count: int) -> list[Example]:
    """About ``count`` notes of a judged directory, a third of each kind.

    Raises:
        MissingPrerequisite: when samples or predictions are no longer there.
    """
    place = directory / files.samples
    given = read_judged(place, [f"{name}={directory / path}" for name, path in files.models.items()], _under(directory, files.reference))
    truths = truth_by_note(directory / files.truth) if files.truth else {}
    points = worth(directory)
    samples = {sample.note.note_id: sample for sample in given.samples}
    found = []
    for note_id, why in chosen(points, list(files.models), samples, count):
        sample = samples[note_id]
        found.append(
            Example(
                f"{label(directory)}: {why}", sample, _pictures(sample, place.parent), _answers(sample, given, points, truths.get(note_id))
            )
        )
    return found


def chosen(
    points: Mapping[str, Mapping[str, float]], models: Sequence[str], samples: Mapping[str, Sample], count: int
) -> list[tuple[str, str]]:
    """Note ids and why; of notes that are equally fit those with pictures first."""
    subject = next((name for name in reversed(models) if points.get(name)), None)
    if subject is None:
        return [(note_id, "not judged") for note_id in list(samples)[:count]]
    own = points[subject]
    apart = {note: max(row) - min(row) for note in own if len(row := [points[name][note] for name in points if note in points[name]]) > 1}
    each = -(-count // (3 if apart else 2))
    kinds: list[tuple[str, Mapping[str, float], Callable[[float], float]]] = [
        (f"worst of {subject}", own, lambda value: value),
        (f"best of {subject}", own, lambda value: -value),
        ("models furthest apart", apart, lambda value: -value),
    ]
    taken: dict[str, str] = {}
    for why, values, key in kinds:
        ranked = sorted(values, key=lambda note: (key(values[note]), not samples[note].pictures, note))
        for note in [one for one in ranked if one not in taken][:each]:
            taken[note] = why
    return list(taken.items())


def _answers(sample: Sample, given: Judged, points: Mapping[str, Mapping[str, float]], truth: Truth | None) -> list[ShownAnswer]:
    note_id = sample.note.note_id
    reference = given.references.get(note_id, [])
    reader = Reader(truth, sample, load_handbook().category(truth.category)) if truth else None
    known = {tag.text.casefold() for tag in reference}
    found = []
    for name, tags in [*((one.model, one.tags.get(note_id, [])) for one in given.models), (REFERENCE, reference)]:
        readings = reader.read(tags) if reader else None
        kinds = [one.kind for one in readings] if readings is not None else [None] * len(tags)
        marked = [MarkedTag(tag, kind, name != REFERENCE and tag.text.casefold() in known) for tag, kind in zip(tags, kinds, strict=True)]
        missing = [one.text(truth.language) for one in reader.missing(readings)] if reader and truth and readings is not None else []
        found.append(ShownAnswer(name, marked, points.get(name, {}).get(note_id), missing))
    return found


def _pictures(sample: Sample, directory: Path) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for one in sample.pictures[:PICTURES]:
        path = directory / one.file
        if path.is_file():
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
            picture.thumbnail((SIDE, SIDE))
            buffer = io.BytesIO()
            picture.save(buffer, format="WEBP", quality=QUALITY)
            found.append((f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", one.source))
    return found


def _under(directory: Path, path: str | None) -> Path | None:
    return directory / path if path else None
