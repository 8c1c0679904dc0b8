"""What lies in the directories of a run: reports of judges, and through them the samples and answers that they judged."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from offline.judge.ablate import Condition
from offline.judge.attributes import SCORES, ModelAttributes, ScoreLine
from offline.judge.files import Files
from offline.judge.lines import read_lines
from offline.judge.pairwise import VERDICTS_LINES, ModelPairwise, VerdictLine
from schemas.errors import BadSetting, MissingPrerequisite


class AttributesReport(Struct, frozen=True):
    """attributes.json."""

    judge: str
    samples: int
    models: dict[str, ModelAttributes]
    files: Files


class PairwiseReport(Struct, frozen=True):
    """pairwise.json."""

    judge: str
    samples: int
    reference: str
    models: dict[str, ModelPairwise]
    files: Files


class AblationReport(Struct, frozen=True):
    """ablation.json."""

    model: str
    judge: str
    samples: int
    most_critical: str
    conditions: dict[str, Condition]
    files: Files


R = TypeVar("R", AttributesReport, PairwiseReport, AblationReport)


class Found(Struct):
    """Reports by the directory they lie in."""

    attributes: dict[Path, AttributesReport]
    pairwise: dict[Path, PairwiseReport]
    ablations: dict[Path, AblationReport]


def find(directories: Sequence[Path]) -> Found:
    """Reads every report in and below the directories.

    Raises:
        MissingPrerequisite: when there is none.
        BadSetting: naming a report that cannot be read.
    """
    found = Found(
        _read(directories, "attributes.json", AttributesReport),
        _read(directories, "pairwise.json", PairwiseReport),
        _read(directories, "ablation.json", AblationReport),
    )
    if not (found.attributes or found.pairwise or found.ablations):
        raise MissingPrerequisite(
            f"{directories[0]}: holds no attributes.json, pairwise.json or ablation.json; make one with `tagstream offline judge pairwise`"
        )
    return found


def label(directory: Path) -> str:
    """What a directory is called on the page: runs of two families often have parts of one name."""
    return " / ".join(directory.parts[-2:])


def worth(directory: Path) -> dict[str, dict[str, float]]:
    """What each model's answer for each note is worth: the points of its verdicts where pairs were judged, else its basic attributes."""
    found: dict[str, dict[str, float]] = {}
    if (directory / VERDICTS_LINES).is_file():
        for line in read_lines(directory / VERDICTS_LINES, VerdictLine):
            if line.points is not None:
                found.setdefault(line.model, {})[line.note_id] = line.points
    elif (directory / SCORES).is_file():
        for score in read_lines(directory / SCORES, ScoreLine):
            if score.scores is not None:
                found.setdefault(score.model, {})[score.note_id] = float(score.scores.total)
    return found


def _read(directories: Sequence[Path], name: str, kind: type[R]) -> dict[Path, R]:
    paths = sorted({path.resolve() for directory in directories for path in directory.rglob(name)})
    found = {}
    for path in paths:
        try:
            found[path.parent] = msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.DecodeError as error:
            raise BadSetting(f"{path}: {error}; write it anew with `tagstream offline judge`") from None
    return found
