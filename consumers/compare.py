"""Holds a bundle against the live one before it is switched to: what it has, how its tags and vectors differ, what readers would get, and
whether a sample of it is what the topics say. What stands against a switch is in ``faults``."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field

from consumers.recompute import Expected, events_in, expected_notes, expected_scores
from models.bundle import Learned
from recall.build import Live
from recall.query import Query, Recalled, recall
from recall.reader import KnownNotes, read_reader
from recall.stores import Held, Window
from schemas.errors import MissingPrerequisite
from schemas.events import Interaction, NoteEvent
from schemas.records import Message
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.topics import INTERACTIONS, NOTE_EVENTS, Topic
from schemas.writes import TAG_SPACE

CHUNK = 500
LOOKS = 4
LOOK_AGAIN_S = 1.5
COSINE_SAME = 0.9999
SCORE_SAME = 1e-6
EXAMPLES = 5
Find = Callable[[Topic, frozenset[str]], tuple[list[Message], bool]]
"""The records of a topic with one of these keys, and whether these are all that there are."""


class Sizes(Struct, frozen=True):
    """How much is looked at: the newest ``notes`` for coverage, ``sampled`` of them for tags and vectors, so many ``readers`` for recall,
    and ``recomputed`` notes and readers from the topics."""

    notes: int = 20_000
    sampled: int = 500
    readers: int = 50
    recomputed: int = 25
    k: int = 20


class Coverage(Struct, frozen=True):
    """How many each bundle has; ``share``: of those of the first that the second has too."""

    a: int
    b: int
    share: float
    missing: list[str]


class TagDiff(Struct, frozen=True):
    """Tags of the notes both have. ``jaccard``: mean over notes; ``examples``: what only the first and only the second says."""

    notes: int
    same: int
    jaccard: float
    examples: list[dict[str, object]]


class Drift(Struct, frozen=True):
    """Vectors of one space of the notes both have; ``comparable`` is False where only one bundle has the space, or in another dimension."""

    comparable: bool
    notes: int = 0
    cosine_mean: float = 0.0
    cosine_p5: float = 0.0


class Overlap(Struct, frozen=True):
    """What sampled readers get from both: share of notes in common, and of the reasons of those notes."""

    readers: int
    notes: float
    reasons: float


class Recomputed(Struct, frozen=True):
    """What differs from an independent computation over the topics, by note or reader. ``not_found``: the topics gave no event for it."""

    notes: int = 0
    readers: int = 0
    not_found: int = 0
    differ: dict[str, str] = field(default_factory=dict)


class Comparison(Struct, frozen=True):
    """Everything; ``faults`` says in words what stands against a switch from ``a`` to ``b``. ``lag``: records behind, by job of ``b``."""

    a: str
    b: str
    notes: Coverage
    readers: Coverage
    tags: TagDiff
    vectors: dict[str, Drift]
    recall: Overlap
    recomputed: Recomputed
    lag: dict[str, int]
    faults: list[str]


class Side(Struct, frozen=True):
    """One bundle: what it answers from, and what it is made of where it has to be computed anew. ``census``: how many readers it has, and
    so many of them."""

    version: str
    settings: Settings
    live: Live
    census: Callable[[int], tuple[int, list[str]]]
    made: Learned | None = None


class Log(Struct, frozen=True):
    """What the topics say: records by key, how far each job of the second bundle is behind, and what time it is (epoch ms)."""

    find: Find
    lag: dict[str, int]
    now: int


def compare(a: Side, b: Side, log: Log, sizes: Sizes = Sizes()) -> Comparison:  # noqa: B008 - frozen
    """Compares two bundles; ``b`` is the one to be switched to, with ``made``.

    Raises:
        Transient: a server does not answer.
        MissingPrerequisite: a bundle has no stores, since nothing was replayed into it.
    """
    for side in (a, b):
        if not side.live.stores.notes.tag_counts([]).notes:
            raise MissingPrerequisite(f"bundle {side.version} holds no notes; run `tagstream replay all --into {side.version}`")
    ids = [hit.note_id for hit in a.live.stores.notes.recent(["*"], Window(), sizes.notes)]
    notes, records = _note_coverage(a, b, ids, sizes.sampled)
    people, chosen = _reader_coverage(a, b, sizes.readers)
    anew = recompute(b, log, list(records), chosen, sizes.recomputed)
    return Comparison(
        a=a.version,
        b=b.version,
        notes=notes,
        readers=people,
        tags=_tag_diff(records),
        vectors=_drift(a, b, list(records)),
        recall=_overlap(a, b, chosen, sizes.k, log.now),
        recomputed=anew,
        lag=log.lag,
        faults=_faults(notes, people, anew, log.lag, b.settings),
    )


def lag_faults(lag: Mapping[str, int], settings: Settings) -> list[str]:
    """Jobs that are further behind than a switch allows."""
    return [f"{job} is {behind:,} records behind" for job, behind in lag.items() if behind > settings.rollout_lag]


def _faults(notes: Coverage, people: Coverage, anew: Recomputed, lag: Mapping[str, int], settings: Settings) -> list[str]:
    wanted = settings.rollout_coverage
    faults = [
        f"{one.share:.2%} of the {what} are there, {wanted:.2%} wanted; missing for example {', '.join(one.missing[:EXAMPLES])}"
        for what, one in (("notes", notes), ("readers", people))
        if one.share < wanted
    ]
    if anew.differ:
        first = next(iter(anew.differ.items()))
        faults.append(f"{len(anew.differ)} of {anew.notes + anew.readers} sampled differ from the topics, first {first[0]}: {first[1]}")
    return faults + lag_faults(lag, settings)


def _note_coverage(a: Side, b: Side, ids: Sequence[str], sampled: int) -> tuple[Coverage, dict[str, tuple[NoteRecord, NoteRecord]]]:
    """Coverage over ``ids``, and both records of ``sampled`` of the notes that both have, spread evenly from new to old."""
    theirs = b.live.stores.notes
    missing = _look_again(ids, lambda some: [one for one in some if one not in theirs.get(some)])
    gone = set(missing)
    both = [note_id for note_id in ids if note_id not in gone]
    some = _spread(both, sampled)
    ours, held = a.live.stores.notes.get(some), theirs.get(some)
    counts = [side.live.stores.notes.tag_counts([]).notes for side in (a, b)]
    share = 1 - len(missing) / len(ids) if ids else 1.0
    return Coverage(counts[0], counts[1], share, missing[:EXAMPLES]), {one: (ours[one], held[one]) for one in some if one in ours}


def _spread(ids: Sequence[str], count: int) -> list[str]:
    """At most ``count`` of them, evenly from first to last."""
    return list(ids[:: max(1, len(ids) // max(1, count))][:count])


def _look_again(asked: Sequence[str], lacking: Callable[[Sequence[str]], Sequence[str]]) -> list[str]:
    """What is lacking, also a few seconds later: what is on its way while events arrive is no fault."""
    for number in range(LOOKS):
        if number:
            time.sleep(LOOK_AGAIN_S)
        asked = [one for start in range(0, len(asked), CHUNK) for one in lacking(asked[start : start + CHUNK])]
        if not asked:
            break
    return list(asked)


def _reader_coverage(a: Side, b: Side, count: int) -> tuple[Coverage, list[str]]:
    ours, chosen = a.census(max(count, CHUNK))
    theirs, _ = b.census(0)
    profiles = b.live.stores.profiles

    def lacking(some: Sequence[str]) -> list[str]:
        heads = profiles.heads(some)
        return [user for user in some if not heads[user].version]

    missing = _look_again(chosen, lacking)
    share = 1 - len(missing) / len(chosen) if chosen else 1.0
    return Coverage(ours, theirs, share, missing[:EXAMPLES]), [user for user in chosen if user not in set(missing)][:count]


def _tag_diff(records: Mapping[str, tuple[NoteRecord, NoteRecord]]) -> TagDiff:
    overlaps, examples = list[float](), list[dict[str, object]]()
    for note_id, (ours, theirs) in records.items():
        before, after = ({tag.text for tag in record.tags} for record in (ours, theirs))
        union = before | after
        overlaps.append(len(before & after) / len(union) if union else 1.0)
        if before != after and len(examples) < EXAMPLES:
            examples.append({"note_id": note_id, "only_a": sorted(before - after), "only_b": sorted(after - before)})
    mean = fmean(overlaps) if overlaps else 1.0
    return TagDiff(len(overlaps), sum(one == 1.0 for one in overlaps), round(mean, 4), examples)


def _drift(a: Side, b: Side, ids: Sequence[str]) -> dict[str, Drift]:
    found: dict[str, Drift] = {}
    spaces = [{TAG_SPACE: side.live.encoder.dimension} | {n: s.dimension for n, s in side.live.stores.spaces.items()} for side in (a, b)]
    for name in dict.fromkeys((*spaces[0], *spaces[1])):
        if spaces[0].get(name) != spaces[1].get(name):
            found[name] = Drift(False)
            continue
        before, after = (side.live.stores.index.vectors(ids, name) for side in (a, b))
        cosines = [cosine(before[one], after[one]) for one in ids if one in before and one in after]
        if cosines:
            found[name] = Drift(True, len(cosines), round(fmean(cosines), 4), round(float(np.quantile(cosines, 0.05)), 4))
        else:
            found[name] = Drift(True)
    return found


def cosine(one: "np.ndarray[tuple[int], np.dtype[np.float32]]", other: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> float:
    """Cosine of two vectors; 0 where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0


def _overlap(a: Side, b: Side, people: Sequence[str], k: int, now: int) -> Overlap:
    notes, reasons = list[float](), list[float]()
    for user in people:
        query = Query(user_id=user, k=k, fresh_within_ms=None, as_of=now, explain=True)
        answers = [_reasons(recall(query, *side.live)) for side in (a, b)]
        union = answers[0].keys() | answers[1].keys()
        common = answers[0].keys() & answers[1].keys()
        if union:
            notes.append(len(common) / max(len(answers[0]), len(answers[1])))
        reasons += [len(one & other) / len(one | other) for one, other in ((answers[0][n], answers[1][n]) for n in common) if one | other]
    return Overlap(len(people), round(fmean(notes), 4) if notes else 1.0, round(fmean(reasons), 4) if reasons else 1.0)


def _reasons(answer: Recalled) -> dict[str, set[tuple[str, str]]]:
    return {one.note_id: {(reason.profile_tag, reason.note_tag) for reason in one.reasons} for one in answer.results}


def recompute(side: Side, log: Log, ids: Sequence[str], people: Sequence[str], count: int) -> Recomputed:
    """Computes some notes and readers anew from the topics and names what the stores hold otherwise."""
    assert side.made is not None, "what is computed anew needs the bundle's parts"
    some = _spread(ids, count)
    messages, _ = log.find(NOTE_EVENTS, frozenset(some))
    expected = expected_notes((event for event in events_in(messages, NoteEvent) if event.note_id in set(some)), side.made)
    differ = _notes_differ(side, expected)
    readers_asked = list(people[:count])
    held = side.live.stores.profiles.read(readers_asked)  # before the topic, so that it has all that they applied
    acted, complete = log.find(INTERACTIONS, frozenset(readers_asked))
    if complete:
        differ |= _readers_differ(side, held, acted, log.now)
    missing = len(some) - len(expected) + (0 if complete else len(readers_asked))
    return Recomputed(len(expected), len(readers_asked) if complete else 0, missing, differ)


def _notes_differ(side: Side, expected: Mapping[str, Expected]) -> dict[str, str]:
    stores, differ = side.live.stores, dict[str, str]()
    records = stores.notes.get(list(expected))
    held = {space: stores.index.vectors(list(expected), space) for space in (TAG_SPACE, *stores.spaces)}
    for note_id, want in expected.items():
        record = records.get(note_id)
        if record is None or record.occurred_at != want.occurred_at:
            continue  # another event came in between, or is on its way
        if [tag.text for tag in record.tags] != [tag.text for tag in want.tags] or record.deleted != want.deleted:
            differ[note_id] = f"tags {[tag.text for tag in record.tags]}, the topic gives {[tag.text for tag in want.tags]}"
        for space, vector in want.vectors.items():
            have = held[space].get(note_id)
            if have is None or cosine(have, vector) < COSINE_SAME:
                differ.setdefault(note_id, f"its vector in space {space} is {'missing' if have is None else 'another'}")
    return differ


class _Read(NamedTuple):
    """Records as they were read once, where profiles are asked for."""

    held: Mapping[str, Held]

    def read(self, user_ids: Sequence[str]) -> dict[str, Held]:
        """See ``Profiles``."""
        return {user: self.held[user] for user in user_ids}


def _readers_differ(side: Side, held: Mapping[str, Held], acted: Sequence[Message], now: int) -> dict[str, str]:
    """A record says up to which offset it has applied its partition; what the topic holds beyond is on its way."""
    stores, differ = side.live.stores, dict[str, str]()
    notes = KnownNotes(stores.notes)
    applied = {user: {at.rpartition("/")[2]: offset for at, offset in one.record.head.applied.items()} for user, one in held.items()}
    mine = [m for m in acted if (m.offset() or 0) <= applied[(m.key() or b"").decode()].get(str(m.partition()), -1)]
    events = events_in(mine, Interaction)
    records = notes.get({event.note_id for event in events})
    tags = {note_id: [tag.text for tag in record.tags] for note_id, record in records.items()}
    expected = expected_scores(events, tags, now, side.settings)
    for user in held:
        have = read_reader(user, now, _Read(held), notes, side.settings).scores  # type: ignore[arg-type]
        want = expected.get(user, {})
        wrong = [tag for tag, score in have.items() if abs(score - want.get(tag, 0.0)) > SCORE_SAME * max(1.0, abs(score))]
        lost = len(want) > len(have) and (not side.settings.profile_max_tags or len(have) < side.settings.profile_max_tags)
        if wrong or lost:
            tag = wrong[0] if wrong else next(tag for tag in want if tag not in have)
            differ[user] = f"tag {tag!r} has {have.get(tag, 0.0):.6f}, the topic gives {want.get(tag, 0.0):.6f}"
    return differ
