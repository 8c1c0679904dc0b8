"""What a judge promises, whichever way it judges: a model behind an endpoint, or the simulated community's own truth."""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from offline.judge.arithmetic import Verdict
from offline.tag_data.samples import Sample, Told

Score = Literal[0, 1]


class Attributes(Struct, frozen=True):
    """Basic attributes of one answer (section 3.3). ``truth``: nothing in it is made up; ``coverage``: it keeps to the handbook's
    dimensions and covers those that the note speaks of; ``importance``: it tells the core of the note. ``reason``: in the judge's words."""

    truth: Score
    coverage: Score
    importance: Score
    reason: str = ""

    @property
    def total(self) -> int:
        """The basic attribute score, in [0, 3]."""
        return self.truth + self.coverage + self.importance


class Answered(Struct, frozen=True):
    """A model's answer for a note."""

    sample: Sample
    tags: Sequence[Told]


class Comparison(Struct, frozen=True):
    """Two answers for one note, in the order in which a judge is to read them."""

    sample: Sample
    a: Sequence[Told]
    b: Sequence[Told]


class Judge(Protocol):
    """Reads answers. ``version`` changes with anything that changes its judgement; a sample's own ``tags`` are nothing to it."""

    name: str
    version: str

    def score(self, asked: Sequence[Answered]) -> list[Attributes | None]:
        """The attributes of each answer, in order; None where the judge gave none that is valid."""
        ...

    def compare(self, asked: Sequence[Comparison]) -> list[Verdict | None]:
        """One verdict on each pair as it stands (swapping is the caller's), in order; None where the judge gave none that is valid."""
        ...
