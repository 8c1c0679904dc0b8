"""What became of events that were sent again from the dead letters.

A job acknowledges its dead letters before it commits. So once a group's position is past a record, either a dead letter names the record's
origin by now, or the event was handled. (An action whose note has still no tags is handled too: it waits, and may be given up once more
later.)
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from streams.dead_letter_log import DeadLetters, Letter
from streams.redrive import Redriven

EVERY_S = 0.5
Positions = Callable[[str, str], Mapping[str, Mapping[int, int]]]
"""Next offsets by group and partition, of a job and its topic."""


class Followed(Struct, frozen=True):
    """``failed_as``: the dead letters that it became; ``not_read``: no group, or not every group, of the job has read it yet."""

    redriven: Redriven
    outcome: Literal["handled", "failed_again", "not_read"]
    failed_as: list[Letter]


class Follower:
    """Follows what is sent after it was made.

    Args:
        topics: the dead-letter topics that are watched.
    """

    def __init__(
        self,
        log: DeadLetters,
        positions: Positions,
        topics: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log = log
        self._positions = positions
        self._clock = clock
        self._pause = pause
        self._starts = log.ends(topics)
        self._failed: dict[str, list[Letter]] = {}

    def follow(self, redriven: Sequence[Redriven], wait_s: float) -> list[Followed]:
        """Waits until every event was read by its job, at most so long; in the order given.

        Raises:
            Transient: no broker answers.
        """
        until = self._clock() + wait_s
        while True:
            read = self._read(redriven)
            self._look()
            if all(read) or self._clock() >= until:
                return [self._followed(one, done) for one, done in zip(redriven, read, strict=True)]
            self._pause(min(EVERY_S, max(0.0, until - self._clock())))

    def _read(self, redriven: Sequence[Redriven]) -> list[bool]:
        """Whether every group's position is past each."""
        jobs = {(one.letter.job, one.letter.source.name) for one in redriven}
        positions = {job: self._positions(*job) for job in jobs}
        done: list[bool] = []
        for one in redriven:
            assert one.to is not None
            groups = positions[one.letter.job, one.letter.source.name].values()
            done.append(bool(groups) and all(of.get(one.to.partition, 0) > one.to.offset for of in groups))
        return done

    def _look(self) -> None:
        """Takes in the dead letters since the last look."""
        for letter in self._log.since(self._starts):
            of = self._starts[letter.id.topic]
            of[letter.id.partition] = max(of.get(letter.id.partition, 0), letter.id.offset + 1)
            if letter.content.redrive_of:
                self._failed.setdefault(letter.content.redrive_of, []).append(letter)

    def _followed(self, one: Redriven, read: bool) -> Followed:
        failed = self._failed.get(one.letter.id.full, [])
        return Followed(one, "failed_again" if failed else "handled" if read else "not_read", failed)
