"""What is judged: the samples, and the answers of models for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from offline.distil.predictions import read_predictions
from offline.tag_data.samples import Sample, Told, read_samples
from schemas.errors import BadSetting

UNKNOWN = "unknown"


class Answers(Struct, frozen=True):
    """A model's answers. ``tags``: by note id; ``unanswered``: samples without an answer, which count as answered without tags."""

    model: str
    tags: dict[str, list[Told]]
    unanswered: int = 0


class Judged(Struct, frozen=True):
    """``models``: in the order given. ``references``: by note id, for the samples that have one."""

    samples: list[Sample]
    models: list[Answers]
    references: dict[str, list[Told]] = field(default_factory=dict)


def read_judged(samples: Path, models: Sequence[str], reference: Path | None = None, limit: int | None = None) -> Judged:
    """Reads samples and predictions.

    Args:
        samples: file of samples.
        models: files of predictions, each as ``FILE`` or ``NAME=FILE``.
        reference: predictions to compare with; the samples' own tags where None.
        limit: how many of the samples, from the first; all where None.

    Raises:
        BadSetting: when two models have one name, a file answers none of the samples, or a note comes twice.
    """
    found: dict[str, Sample] = {}
    for number, sample in enumerate(read_samples(samples), 1):
        if limit is not None and len(found) >= limit:
            break
        if sample.note.note_id in found:
            raise BadSetting(f"{samples}: line {number}: note {sample.note.note_id} comes again; keep one sample of a note")
        found[sample.note.note_id] = sample
    if not found:
        raise BadSetting(f"{samples}: no sample; make tag data with `tagstream offline tag-data extract NOTES --out DIR`")
    if reference is not None:
        references = _read(str(reference), reference, found).tags
    else:
        references = {note_id: list(sample.tags) for note_id, sample in found.items() if sample.tags}
    return Judged(list(found.values()), [_read(name, path, found) for name, path in named(models).items()], references)


def named(models: Sequence[str]) -> dict[str, Path]:
    """Files of predictions by the model's name: ``NAME=FILE``, or the file's name without its ending.

    Raises:
        BadSetting: when two have one name.
    """
    found: dict[str, Path] = {}
    for given in models:
        name, _, rest = given.partition("=")
        path = Path(rest) if rest and not Path(given).is_file() else Path(given)
        name = name if rest and not Path(given).is_file() else path.stem
        if name in found:
            raise BadSetting(f"two models are called {name!r}; name them: NAME={path}")
        found[name] = path
    return found


def category_of(sample: Sample) -> str:
    """The note's category."""
    return sample.note.category or UNKNOWN


def _read(name: str, path: Path, samples: Mapping[str, Sample]) -> Answers:
    tags = {one.note_id: one.told for one in read_predictions(path) if one.note_id in samples}
    if not tags:
        raise BadSetting(f"{path}: answers none of the samples; give predictions for the same notes")
    return Answers(name, tags, len(samples) - len(tags))
