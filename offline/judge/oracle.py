"""A judge of the simulated community, where everything true of a note is known; ``readings.py`` says what each tag is worth.

Attributes (section 3.3). An answer without tags has none of the three, unless the sample tells nothing.
    Truth: no tag is false.
    Coverage: every tag has the dimension of what it says (those that say nothing: one of the category's), and true tags of their
    dimension cover at least the share ``covered`` of the dimensions that the sample tells.
    Importance: the first tag says something true that the sample tells, and among the first ``front`` tags at least the share
    ``leading`` say one of the ``front`` most important attributes. Attributes as important as the last of those belong to them.

Comparison. An answer's utility is, in [0, 1],
    S / (S + M / 2 + F x false tags + L x low-information tags) x (1 - O + O x order),
with S the weight of the attributes that it says, half of it where the dimension is another, and M the weight of all it lacks. An
attribute of tier t weighs 1 / log2(2 + t). ``order`` is the discounted gain of what is said where it stands, over that of the same said
first and best first (NDCG). The difference of two utilities is a tie up to ``near``, better up to ``far`` and much better beyond.
"""

import hashlib
from collections.abc import Mapping, Sequence
from math import log2

import msgspec
from msgspec import Struct

from models.handbook import Handbook, load_handbook
from offline.judge.arithmetic import Verdict
from offline.judge.readings import Reader, Reading
from offline.judge.roles import Answered, Attributes, Comparison, Score
from offline.simulate.truth import Truth
from offline.tag_data.samples import Sample, Told
from schemas.errors import BadSetting

ALGORITHM = 1  # raised when this module or readings.py judges otherwise


class Strictness(Struct, frozen=True, kw_only=True):
    """What the formulas above leave open. ``covered``, ``leading``: shares in (0, 1]. ``false_cost``, ``low_cost``, ``order_share``: F, L
    and O. ``near``, ``far``: differences of utility."""

    covered: float = 0.6
    front: int = 4
    leading: float = 0.75
    false_cost: float = 1.0
    low_cost: float = 0.25
    order_share: float = 0.5
    near: float = 0.05
    far: float = 0.3


class OracleJudge:
    """Implements ``offline.judge.roles.Judge``; every verdict is valid, and that on a swapped pair is the negated one.

    Args:
        truths: by note id.
        strictness: thresholds and costs.
        handbook: the dimensions; the one shipped by default.
    """

    name = "oracle"

    def __init__(self, truths: Mapping[str, Truth], strictness: Strictness | None = None, handbook: Handbook | None = None) -> None:
        self.strictness = strictness or Strictness()
        self._truths = truths
        self._handbook = handbook or load_handbook()
        digest = hashlib.blake2b(msgspec.json.encode([ALGORITHM, self.strictness, self._handbook.version]), digest_size=4)
        for truth in truths.values():
            digest.update(msgspec.json.encode(truth))
        self.version = f"oracle-{digest.hexdigest()}"

    def score(self, asked: Sequence[Answered]) -> list[Attributes | None]:
        """See ``offline.judge.roles.Judge``.

        Raises:
            BadSetting: naming a note whose truth is not there.
        """
        return [self._attributes(self.reader(one.sample), one.tags) for one in asked]

    def compare(self, asked: Sequence[Comparison]) -> list[Verdict | None]:
        """See ``offline.judge.roles.Judge``; raises as ``score``."""
        verdicts: list[Verdict | None] = []
        for one in asked:
            reader = self.reader(one.sample)
            verdicts.append(self.verdict(self.utility(reader, one.a) - self.utility(reader, one.b)))
        return verdicts

    def reader(self, sample: Sample) -> Reader:
        """Reads answers about a sample."""
        truth = self._truths.get(sample.note.note_id)
        if truth is None:
            raise BadSetting(f"truth: none of note {sample.note.note_id!r}; give the truth file of the community that the samples are from")
        return Reader(truth, sample, self._handbook.category(truth.category))

    def utility(self, reader: Reader, tags: Sequence[Told]) -> float:
        """What an answer is worth, in [0, 1]."""
        rules, readings = self.strictness, reader.read(tags)
        weights = _weights(reader)
        gains = [_gain(one, weights) for one in readings]
        wrong = sum(one.kind == "false" for one in readings) * rules.false_cost
        wrong += sum(one.kind == "low" for one in readings) * rules.low_cost
        if not weights:
            return 1 / (1 + wrong)
        said = sum(gains)
        if not said:
            return 0.0
        order = _discounted(gains) / _discounted(sorted(gains, reverse=True))
        return said / (said + (sum(weights.values()) - said) / 2 + wrong) * (1 - rules.order_share * (1 - order))

    def verdict(self, difference: float) -> Verdict:
        """What a difference of utility comes to."""
        size = abs(difference)
        if size <= self.strictness.near:
            return "A=B"
        if difference > 0:
            return "A>>B" if size > self.strictness.far else "A>B"
        return "A<<B" if size > self.strictness.far else "A<B"

    def _attributes(self, reader: Reader, tags: Sequence[Told]) -> Attributes:
        if not tags:
            return Attributes(0, 0, 0, "no tag") if reader.asked else Attributes(1, 1, 1, "there is nothing to tell")
        readings = reader.read(tags)
        false = [one.tag.text for one in readings if one.kind == "false"]
        faults = (f"false: {', '.join(false)}" if false else "", self._uncovered(reader, readings), self._misses_core(reader, readings))
        truth, coverage, importance = (_score(not fault) for fault in faults)
        return Attributes(truth, coverage, importance, "; ".join(fault for fault in faults if fault))

    def _uncovered(self, reader: Reader, readings: Sequence[Reading]) -> str:
        """Why coverage is not given; empty where it is."""
        misplaced = [f"{one.tag.text} under {one.tag.dimension}" for one in readings if not one.fits]
        if misplaced:
            return f"dimension: {', '.join(misplaced)}"
        told = {one.attribute.dimension for one in reader.asked}
        covered = told & {one.tag.dimension for one in readings if one.attribute is not None and one.counts}
        return "" if len(covered) >= self.strictness.covered * len(told) else f"covers {len(covered)} of {len(told)} dimensions"

    def _misses_core(self, reader: Reader, readings: Sequence[Reading]) -> str:
        """Why importance is not given; empty where it is."""
        if not reader.asked:
            return ""
        if not readings[0].counts:
            return f"leads with {readings[0].tag.text}"
        front = min(self.strictness.front, len(reader.asked))
        last = reader.asked[front - 1].tier
        core = [one.attribute for one in reader.asked if one.tier <= last]
        said = sum(one.attribute in core for one in readings[:front])
        return "" if said >= self.strictness.leading * front - 1e-9 else f"{said} of the first {front} tags tell the core"


def _score(good: bool) -> Score:
    return 1 if good else 0


def _weights(reader: Reader) -> dict[tuple[str, str], float]:
    """By dimension and English words."""
    return {(one.attribute.dimension, one.attribute.en): 1 / log2(2 + one.tier) for one in reader.asked}


def _gain(reading: Reading, weights: Mapping[tuple[str, str], float]) -> float:
    if reading.attribute is None or not reading.counts:
        return 0.0
    weight = weights[reading.attribute.dimension, reading.attribute.en]
    return weight if reading.fits else weight / 2


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / log2(2 + place) for place, gain in enumerate(gains))
