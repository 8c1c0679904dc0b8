"""Sums over the rows of one partition, kept up to date as rows change, and which of them changed since they were last told.

A fold is derived: it is made anew from the rows after a restart. What it tells are whole values, so telling one twice is harmless.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from schemas.topics import DAY_MS
from streams.distinct import Distinct
from streams.metric_windows import CHANNEL, COUNTED, NoteRow, ReaderDay, ReaderRow, Rules, StreamRow
from streams.tag_drift import REFERENCE, TagRow, Vector, add

CATEGORY = "k"
Field = tuple[Any, ...]


class ArmDay(Struct, array_like=True):
    """One arm on one day: readers' sketch, their exact number within the partition, and sums and sums of squares over them."""

    users: bytes
    readers: int
    views: int
    dwell_ms: int
    dwell_squares: int
    interactions: int
    interaction_squares: int


class _Telling:
    """Fields whose values changed."""

    def __init__(self) -> None:
        self.changed: set[Field] = set()

    def take(self, value_of: Callable[[Field], Any]) -> dict[str, bytes | None]:
        """The changed fields with their values as JSON, None for those that are gone."""
        taken, self.changed = told(self.changed, value_of), set()
        return taken


def told(cells: Iterable[Field], value_of: Callable[[Field], Any]) -> dict[str, bytes | None]:
    """Values of cells as JSON by name, None where there is none."""
    values = ((cell, value_of(cell)) for cell in cells)
    return {field_name(cell): None if value is None else msgspec.json.encode(value) for cell, value in values}


def field_name(cell: Field) -> str:
    """A cell's name in the output: a JSON array."""
    return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))


class ReaderFold:
    """Rows of readers -> ``[day, arm]``: ``ArmDay``; ``[day]``: late and duplicate events; ``[]``: the partition's stream time."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._rows: dict[bytes, ReaderRow] = {}
        self._users: dict[tuple[int, str], Distinct] = {}
        self._sums: dict[tuple[int, str], list[int]] = {}
        self._refused: dict[int, list[int]] = {}
        self._telling = _Telling()
        self.newest = 0

    def replace(self, key: bytes, row: ReaderRow | StreamRow | None) -> None:
        """Takes a row as it is now, None where it is gone."""
        if isinstance(row, StreamRow):
            if row.newest > self.newest:
                self.newest = row.newest
                self._telling.changed.add(())
            return
        before = self._rows.pop(key, None)
        if row is not None:
            self._rows[key] = row
        days = row.days if row else []
        old = {(day.day, day.arm): day for day in (before.days if before else [])}
        for day in days:
            was = old.pop((day.day, day.arm), None)
            if was != day:
                self._add(key, day, was)
        for gone in old.values():
            self._add(key, ReaderDay(gone.day, gone.arm), gone, -1)
        self._refuse(before.refused if before else {}, row.refused if row else {})

    def move(self, newest: int) -> list[bytes]:
        """Moves the stream time; returns the keys of rows that hold nothing that is kept then."""
        if newest > self.newest:
            self.newest = newest
            self._telling.changed.add(())
        since = self._rules.kept_from(self.newest) - DAY_MS
        return [
            key
            for key, row in self._rows.items()
            if all(day.day <= since for day in row.days)
            and all(self._rules.closed(window, self.newest) for window in row.seen)
            and all(day <= since for day in row.refused)
        ]

    def take(self) -> dict[str, bytes | None]:
        """What changed since the last time; what is no longer kept goes."""
        since = self._rules.kept_from(self.newest) - DAY_MS
        for cell in [cell for cell in self._sums if cell[0] <= since]:
            del self._sums[cell], self._users[cell]
            self._telling.changed.add(cell)
        for day in [day for day in self._refused if day <= since]:
            del self._refused[day]
            self._telling.changed.add((day,))
        return self._telling.take(self._value)

    def all(self) -> dict[str, bytes | None]:
        """Every cell."""
        return told([(), *((day,) for day in self._refused), *self._sums], self._value)

    def again(self, fields: Iterable[str]) -> None:
        """Tells fields once more that could not be delivered."""
        self._telling.changed.update(tuple(json.loads(name)) for name in fields)

    def _value(self, cell: Field) -> Any:
        if not cell:
            return self.newest
        if len(cell) == 1:
            return self._refused.get(cell[0])
        if cell not in self._sums:
            return None
        return ArmDay(self._users[cell].pack(), *self._sums[cell])

    def _add(self, key: bytes, day: ReaderDay, was: ReaderDay | None, readers: int = 1) -> None:
        cell = (day.day, day.arm)
        if cell not in self._sums:
            self._sums[cell], self._users[cell] = [0] * 6, Distinct()
        sums = self._sums[cell]
        self._users[cell].add(key.partition(b":")[2].decode())
        old = was or ReaderDay(day.day, day.arm)
        sums[0] += readers if was is None or readers < 0 else 0
        for place, name in ((1, "views"), (2, "dwell_ms"), (4, "interactions")):
            sums[place] += getattr(day, name) - getattr(old, name)
        sums[3] += day.dwell_ms**2 - old.dwell_ms**2
        sums[5] += day.interactions**2 - old.interactions**2
        self._telling.changed.add(cell)

    def _refuse(self, before: Mapping[int, list[int]], now: Mapping[int, list[int]]) -> None:
        for day in before.keys() | now.keys():
            old, new = before.get(day, (0, 0)), now.get(day, (0, 0))
            if tuple(old) != tuple(new):
                total = self._refused.setdefault(day, [0, 0])
                for place in (0, 1):
                    total[place] += new[place] - old[place]
                self._telling.changed.add((day,))


class NoteFold:
    """Rows of notes -> ``[window, label]``: counts in the order of ``COUNTED``; ``[]``: actions on notes whose note event did not come."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._rows: dict[bytes, NoteRow] = {}
        self._sums: dict[tuple[int, str], list[int]] = {}
        self._telling = _Telling()
        self._telling.changed.add(())  # a process that was killed may have told of actions whose notes came since
        self.waiting = 0
        self.unknown = 0
        self.newest = 0

    def replace(self, key: bytes, row: NoteRow | None) -> None:
        """Takes a row as it is now, None where it is gone."""
        before = self._rows.pop(key, None)
        if row is not None and (row.cells or row.waiting or row.given_up):
            self._rows[key] = row
        for one, sign in ((before, -1), (row, 1)):
            if one is not None and (one.waiting or one.given_up):
                self.waiting += sign * len(one.waiting)
                self.unknown += sign * (len(one.waiting) + sum(one.given_up.values()))
                self._telling.changed.add(())
        for window in set(before.cells if before else ()) | set(row.cells if row else ()):
            old, new = (one.cells.get(window, {}) if one else {} for one in (before, row))
            if old != new:
                self._add(window, self._with_category(before, old), -1)
                self._add(window, self._with_category(row, new), 1)
        if row is not None:
            waiting = [self._rules.window(action.occurred_at) for action in row.waiting[-1:]]
            self.newest = max(self.newest, *row.cells, *row.given_up, *waiting, 0)

    def move(self, newest: int) -> list[bytes]:
        """Moves the newest window; returns the keys of rows with windows that are no longer kept then."""
        self.newest = max(self.newest, newest)
        since = self._rules.kept_from(self.newest) - self._rules.window_ms
        return [
            key
            for key, row in self._rows.items()
            if any(window <= since for window in (*row.cells, *row.given_up))
            or any(self._rules.window(action.occurred_at) <= since for action in row.waiting)
        ]

    def take(self) -> dict[str, bytes | None]:
        """What changed since the last time."""
        return self._telling.take(self._value)

    def all(self) -> dict[str, bytes | None]:
        """Every cell."""
        return told([(), *self._sums], self._value)

    def again(self, fields: Iterable[str]) -> None:
        """Tells fields once more that could not be delivered."""
        self._telling.changed.update(tuple(json.loads(name)) for name in fields)

    def _value(self, cell: Field) -> Any:
        return self._sums.get(cell) if cell else self.unknown

    def _with_category(self, row: NoteRow | None, cells: Mapping[str, list[int]]) -> dict[str, list[int]]:
        """The counts of one window by label, with the category's: the sum over channels."""
        if row is None or not cells:
            return {}
        channels = [counts for label, counts in cells.items() if label.startswith(CHANNEL)]
        return {**cells, CATEGORY + (row.category or ""): [sum(column) for column in zip(*channels, strict=True)]}

    def _add(self, window: int, cells: Mapping[str, list[int]], sign: int) -> None:
        for label, counts in cells.items():
            cell = (window, label)
            sums = self._sums.setdefault(cell, [0] * len(COUNTED))
            for place, count in enumerate(counts):
                sums[place] += sign * count
            if not any(sums):
                del self._sums[cell]
            self._telling.changed.add(cell)


class TagFold:
    """Rows of tagged notes -> ``[bundle, window]``: sum of the notes' vectors."""

    def __init__(self, rules: Rules, window_ms: int) -> None:
        self._rules = rules
        self._window_ms = window_ms
        self._rows: dict[bytes, TagRow] = {}
        self._sums: dict[tuple[str, int], Vector] = {}
        self._telling = _Telling()
        self.newest = 0

    def replace(self, key: bytes, row: TagRow | None) -> None:
        """Takes a row as it is now, None where it is gone."""
        for one, sign in ((self._rows.pop(key, None), -1), (row, 1)):
            if one is not None:
                cell = (one.bundle, one.window)
                self._sums[cell] = add(self._sums.get(cell, []), [sign * count for count in one.vector])
                if not any(self._sums[cell]):
                    del self._sums[cell]
                self._telling.changed.add(cell)
        if row is not None:
            self._rows[key] = row
            self.newest = max(self.newest, row.window)

    def references(self, bundle: str) -> int:
        """How many notes of a bundle are its reference."""
        return self._sums.get((bundle, REFERENCE), [0])[0]

    def move(self, newest: int) -> list[bytes]:
        """Moves the newest window; returns the keys of rows whose window is no longer kept then."""
        self.newest = max(self.newest, newest)
        since = self._rules.kept_from(self.newest) - self._window_ms
        return [key for key, row in self._rows.items() if REFERENCE != row.window <= since]

    def take(self) -> dict[str, bytes | None]:
        """What changed since the last time."""
        return self._telling.take(self._sums.get)

    def all(self) -> dict[str, bytes | None]:
        """Every cell."""
        return told(self._sums, self._sums.get)

    def again(self, fields: Iterable[str]) -> None:
        """Tells fields once more that could not be delivered."""
        self._telling.changed.update(tuple(json.loads(name)) for name in fields)
