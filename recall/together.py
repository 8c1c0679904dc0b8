"""Calls of many threads made as one, so that under load the user tower and Milvus are asked for many readers at a time.

Nobody waits for company: whoever finds no call under way makes one for all that wait by then. Alone a call is made at once, and the busier
the process, the larger the batches.
"""

from collections.abc import Callable, Sequence
from threading import Condition
from typing import Any, Generic, TypeVar

import numpy as np

from models.roles import ActedNote, Space
from recall.stores import Hit, NoteIndex, Vector, Window
from schemas.writes import TAG_SPACE, DropVector, PutVector

A = TypeVar("A")
R = TypeVar("R")
WINDOW_STEP_MS = 1_000


class _Waiting(Generic[A, R]):
    """One caller's part."""

    def __init__(self, argument: A) -> None:
        self.argument = argument
        self.answers: list[R] = []
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.answers) or self.error is not None


class Together(Generic[A, R]):
    """A function of many arguments, called with one from many threads.

    Args:
        call: gives an answer for each argument, in order; what it raises every caller of that batch gets.
        most: arguments of one call.
    """

    def __init__(self, call: Callable[[Sequence[A]], Sequence[R]], most: int) -> None:
        self._call = call
        self._most = most
        self._turn = Condition()
        self._waiting: list[_Waiting[A, R]] = []
        self._busy = False

    def __call__(self, argument: A) -> R:
        mine: _Waiting[A, R] = _Waiting(argument)
        with self._turn:
            self._waiting.append(mine)
        while not mine.done:
            with self._turn:
                self._turn.wait_for(lambda: mine.done or not self._busy)
                if mine.done:
                    break
                self._busy = True
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._answer(batch)
            with self._turn:
                self._busy = False
                self._turn.notify_all()
        if mine.error is not None:
            raise mine.error
        return mine.answers[0]

    def _answer(self, batch: Sequence[_Waiting[A, R]]) -> None:
        try:
            answers = self._call([one.argument for one in batch])
            for one, answer in zip(batch, answers, strict=True):
                one.answers.append(answer)
        except BaseException as error:
            for one in batch:
                one.error = error


class TogetherSpace:
    """A ``Space`` whose readers come one at a time from many threads."""

    def __init__(self, space: Space, most: int) -> None:
        self.name, self.dimension, self.version = space.name, space.dimension, space.version
        self._space = space
        self._readers: Together[Sequence[ActedNote], Vector] = Together(lambda histories: list(space.readers(histories)), most)

    def notes(self, tags: Sequence[Sequence[str]], confidences: Sequence[Sequence[float]] | None = None) -> Vector:
        """See ``Space``."""
        return self._space.notes(tags, confidences)

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> Vector:
        """See ``Space``."""
        return np.stack([self._readers(history) for history in histories])


Searches = Together[tuple[Vector, Window], list[Hit]]


class TogetherIndex:
    """A ``NoteIndex`` whose searches of one kind are made together. Windows that begin within the same second are searched by the earliest
    beginning, and each search keeps what is in its own."""

    def __init__(self, index: NoteIndex, most: int) -> None:
        self._index = index
        self._most = most
        self._lock = Condition()
        self._kinds: dict[tuple[Any, ...], Searches] = {}

    def search(self, vectors: Vector, k: int, window: Window, space: str = TAG_SPACE) -> list[list[Hit]]:
        """See ``NoteIndex``."""
        if len(vectors) != 1:
            return self._index.search(vectors, k, window, space)
        return [self._kind(k, window, space)((vectors[0], window))]

    def _kind(self, k: int, window: Window, space: str) -> Searches:
        kind = (space, k, window.until, None if window.since is None else window.since // WINDOW_STEP_MS)
        with self._lock:
            if kind not in self._kinds:
                if len(self._kinds) > 256:
                    self._kinds.clear()  # those under way keep their own
                self._kinds[kind] = Together(lambda asked: self._search(asked, k, space), self._most)
            return self._kinds[kind]

    def _search(self, asked: Sequence[tuple[Vector, Window]], k: int, space: str) -> list[list[Hit]]:
        windows = [window for _, window in asked]
        widest = Window(min((one.since for one in windows if one.since is not None), default=None), windows[0].until)
        found = self._index.search(np.stack([vector for vector, _ in asked]), k, widest, space)
        return [
            [hit for hit in hits if window.since is None or hit.published_at >= window.since]
            for hits, window in zip(found, windows, strict=True)
        ]

    def upsert(self, puts: Sequence[PutVector]) -> None:
        """See ``NoteIndex``."""
        self._index.upsert(puts)

    def drop(self, drops: Sequence[DropVector]) -> None:
        """See ``NoteIndex``."""
        self._index.drop(drops)

    def visible(self, note_ids: Sequence[str]) -> dict[str, int]:
        """See ``NoteIndex``."""
        return self._index.visible(note_ids)

    def vectors(self, note_ids: Sequence[str], space: str = TAG_SPACE) -> dict[str, Vector]:
        """See ``NoteIndex``."""
        return self._index.vectors(note_ids, space)

    def expire(self, before: int) -> int:
        """See ``NoteIndex``."""
        return self._index.expire(before)
