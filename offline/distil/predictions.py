"""What a model answered, as JSON lines of the shape that ``tagstream tag --json`` prints."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, field

from offline.json_lines import read_records
from offline.tag_data.samples import Told
from schemas.events import Tag


class Prediction(Struct, frozen=True):
    """A model's answer for one note, most important tag first."""

    note_id: str
    category: str | None = None
    tags: list[Tag] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)

    @property
    def told(self) -> list[Told]:
        """The tags as a model writes them, each with its first evidence's source."""
        return [Told(tag.text, tag.dimension, tag.evidence[0].source if tag.evidence else "body") for tag in self.tags]


def read_predictions(path: Path) -> Iterator[Prediction]:
    """The predictions of a file, one at a time.

    Raises:
        MissingPrerequisite: when the file is absent.
        BadSetting: naming the line that is no prediction.
    """
    return read_records(path, Prediction, f"write it with `tagstream offline infer MODEL SAMPLES --out {path}`")
