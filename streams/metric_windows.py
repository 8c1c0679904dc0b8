"""The arithmetic of the metrics: which window an event falls into, when it is late, and how the row of a reader or a note takes it.

Every figure is a sum over rows, one row per reader (views, dwell, interactions by day and arm) or per note (actions by window, channel and
arm). A row carries the last offset applied per source partition, so an event that is delivered again changes nothing, and it is written as
one value, so a crash leaves it whole. What a row holds does not depend on how the topics interleave:

- Late: the window of the event closed before it came, ``window end + grace <= stream time``. Stream time is the newest ``occurred_at`` so
  far in the event's own partition, never later than Kafka's timestamp, so one wrong clock does not close every window. Partition and
  offset alone decide it. A late event counts nowhere but as late.
- Duplicate: the ``event_id`` is among the reader's of the windows still open (the last 4,096 of each). A copy that comes after its window
  closed is late.
- An action on a note whose note event did not come yet waits in the note's row and counts as if it had come afterwards. The first note
  event in the log fixes when a note was published and its category: a later correction moves no counts between windows.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec import Struct, field

from schemas.events import Interaction
from schemas.settings import Settings
from schemas.topics import DAY_MS

COUNTED = ("impression", "click", "like", "favorite", "comment", "share")
INTERACTIONS = frozenset(COUNTED[2:])
LABEL_CHARS = 64
LABELS_PER_WINDOW = 200
OTHER = "(other)"
DIGEST = 8
SEEN_PER_WINDOW = 4096
CHANNEL, ARM = "c", "a"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


class Rules(Struct, frozen=True):
    """Lengths in milliseconds of event time. ``waiting``: actions of a partition that may wait for note events."""

    window_ms: int
    grace_ms: int
    fresh_ms: int
    keep_ms: int
    waiting: int

    @staticmethod
    def of(settings: Settings) -> "Rules":
        """From the settings; windows still open are always kept."""
        window, grace = settings.metrics_window_minutes * MINUTE_MS, settings.metrics_grace_minutes * MINUTE_MS
        keep = max(int(settings.metrics_keep_hours * HOUR_MS), 2 * window + grace, grace + 2 * DAY_MS)
        return Rules(window, grace, int(settings.metrics_fresh_hours * HOUR_MS), keep, settings.metrics_waiting)

    def window(self, at: int) -> int:
        """Start of the window that holds a time."""
        return at - at % self.window_ms

    def closed(self, window: int, stream_time: int) -> bool:
        """Whether a window, by its start, takes no more events."""
        return window + self.window_ms + self.grace_ms <= stream_time

    def kept_from(self, newest: int) -> int:
        """Windows and days that end after this time are kept."""
        return newest - self.keep_ms


class Place(NamedTuple):
    """Where an event stands: its source partition (with the topic's identity) and offset, and Kafka's timestamp (epoch ms, 0 = none)."""

    source: str
    offset: int
    timestamp: int = 0


class StreamRow(Struct, array_like=True):
    """What is known of one partition of the interactions. ``newest``: its stream time."""

    applied: dict[str, int] = field(default_factory=dict)
    newest: int = 0


class ReaderDay(Struct, array_like=True, gc=False):
    """What a reader did on one day (start, epoch ms) in one arm ("" = in no experiment)."""

    day: int
    arm: str
    views: int = 0
    dwell_ms: int = 0
    interactions: int = 0


class ReaderRow(Struct, array_like=True):
    """One reader. ``seen``: hashes of the event ids of each open window. ``refused``: day -> [late, duplicates]; a late event counts
    under the day of the stream time at which it came."""

    applied: dict[str, int] = field(default_factory=dict)
    seen: dict[int, bytes] = field(default_factory=dict)
    days: list[ReaderDay] = field(default_factory=list)
    refused: dict[int, list[int]] = field(default_factory=dict)


class NoteFacts(Struct, array_like=True, tag="note"):
    """A note event as it goes to the note's row."""

    published_at: int
    category: str | None


class NoteAction(Struct, array_like=True, tag="action", gc=False):
    """An interaction as it goes to the note's row, with its place."""

    source: str
    offset: int
    occurred_at: int
    action: str
    channel: str
    arms: list[str]


class NoteRow(Struct, array_like=True):
    """One note. ``published_at`` is None until its note event came. ``cells``: window -> label -> counts in the order of ``COUNTED``; a
    label is ``c`` and the channel or ``a`` and the arm. ``given_up``: window -> actions for which no room was left to wait."""

    applied: dict[str, int] = field(default_factory=dict)
    published_at: int | None = None
    category: str | None = None
    waiting: list[NoteAction] = field(default_factory=list)
    cells: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    given_up: dict[int, int] = field(default_factory=dict)


Verdict = Literal["counted", "applied", "late", "duplicate"]


def arms_of(experiment: Mapping[str, str]) -> list[str]:
    """``name=value`` for each experiment an event was part of, in order of name; [""] for none."""
    return [f"{name}={value}"[:LABEL_CHARS] for name, value in sorted(experiment.items())] or [""]


def take_event(row: ReaderRow, stream: StreamRow, event: Interaction, place: Place, rules: Rules) -> Verdict:
    """Moves the partition's stream time and lets the reader's row take one interaction; both rows are changed in place.

    Returns:
        ``counted`` when the note's row must take the event too.
    """
    if place.offset <= stream.applied.get(place.source, -1):
        return "applied"
    stream.applied[place.source] = place.offset
    at = event.occurred_at
    stream.newest = max(stream.newest, min(at, place.timestamp) if place.timestamp > 0 else at)
    if place.offset <= row.applied.get(place.source, -1):
        return "applied"
    row.applied[place.source] = place.offset
    window = rules.window(at)
    _prune_reader(row, stream.newest, rules)
    if rules.closed(window, stream.newest):
        _refuse(row, stream.newest, 0)
        return "late"
    digest = hashlib.blake2b(event.event_id.encode(), digest_size=DIGEST).digest()
    if any(_holds(packed, digest) for packed in row.seen.values()):
        _refuse(row, stream.newest, 1)
        return "duplicate"
    row.seen[window] = (row.seen.get(window, b"") + digest)[-SEEN_PER_WINDOW * DIGEST :]
    for arm in arms_of(event.experiment):
        day = _day(row, at - at % DAY_MS, arm)
        day.views += event.action == "view"
        day.dwell_ms += (event.dwell_ms or 0) if event.action == "view" else 0
        day.interactions += event.action in INTERACTIONS
    return "counted"


def note_action(event: Interaction, place: Place) -> NoteAction | None:
    """What of an interaction the note's row takes; None for an action that no window counts."""
    if event.action not in COUNTED:
        return None
    channel = (event.channel or "")[:LABEL_CHARS]
    return NoteAction(place.source, place.offset, event.occurred_at, event.action, channel, arms_of(event.experiment))


def take_action(row: NoteRow, action: NoteAction, rules: Rules, room: int) -> bool:
    """Lets a note's row, changed in place, take an action: it counts, or it waits where there is room.

    Args:
        room: how many more actions may wait.

    Returns:
        Whether the row changed; an action applied before, or on a note too old to count, changes nothing.
    """
    if action.offset <= row.applied.get(action.source, -1) or not _fresh(row, action, rules):
        return False
    row.applied[action.source] = action.offset
    if row.published_at is not None:
        _count(row, action, rules)
    elif room > 0:
        row.waiting.append(action)
    else:
        window = rules.window(action.occurred_at)
        row.given_up[window] = row.given_up.get(window, 0) + 1
    return True


def take_facts(row: NoteRow, facts: NoteFacts, rules: Rules) -> bool:
    """Lets a note's row take its note event: the first one counts, and with it what waited. Returns whether the row changed."""
    if row.published_at is not None:
        return False
    row.published_at, row.category = facts.published_at, facts.category
    for action in row.waiting:
        if _fresh(row, action, rules):
            _count(row, action, rules)
    row.waiting = []
    return True


def prune_note(row: NoteRow, newest: int, rules: Rules) -> bool:
    """Drops windows that ended before what is kept. Returns whether anything was dropped."""
    since = rules.kept_from(newest) - rules.window_ms
    old = [window for window in row.cells if window <= since]
    given_up = [window for window in row.given_up if window <= since]
    waiting = [action for action in row.waiting if rules.window(action.occurred_at) > since]
    dropped = bool(old or given_up or len(waiting) < len(row.waiting))
    for window in old:
        del row.cells[window]
    for window in given_up:
        del row.given_up[window]
    row.waiting = waiting
    return dropped


def _fresh(row: NoteRow, action: NoteAction, rules: Rules) -> bool:
    """Whether the note was young enough at the time of the action, as far as is known."""
    return row.published_at is None or action.occurred_at - row.published_at < rules.fresh_ms


def _count(row: NoteRow, action: NoteAction, rules: Rules) -> None:
    cells = row.cells.setdefault(rules.window(action.occurred_at), {})
    kind = COUNTED.index(action.action)
    for label in (CHANNEL + action.channel, *(ARM + arm for arm in action.arms)):
        known = label in cells or len(cells) < LABELS_PER_WINDOW
        cells.setdefault(label if known else label[0] + OTHER, [0] * len(COUNTED))[kind] += 1


def _day(row: ReaderRow, day: int, arm: str) -> ReaderDay:
    for known in row.days:
        if known.day == day and known.arm == arm:
            return known
    row.days.append(ReaderDay(day, arm))
    return row.days[-1]


def _refuse(row: ReaderRow, stream_time: int, which: int) -> None:
    row.refused.setdefault(stream_time - stream_time % DAY_MS, [0, 0])[which] += 1


def _prune_reader(row: ReaderRow, stream_time: int, rules: Rules) -> None:
    """Drops the event ids of closed windows and days that ended before what is kept."""
    for window in [window for window in row.seen if rules.closed(window, stream_time)]:
        del row.seen[window]
    since = rules.kept_from(stream_time) - DAY_MS
    if any(day.day <= since for day in row.days):
        row.days = [day for day in row.days if day.day > since]
    for day in [day for day in row.refused if day <= since]:
        del row.refused[day]


def _holds(packed: bytes, digest: bytes) -> bool:
    at = packed.find(digest)
    while at >= 0 and at % DIGEST:
        at = packed.find(digest, at + 1)
    return at >= 0
