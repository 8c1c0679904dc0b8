"""Which offsets may be committed: per partition the contiguous finished prefix of what was taken, and nothing after a revoke.

A ``Ticket`` stands for one batch taken from several partitions. It refers to the assignments it was taken under, so finishing it after a
revoke, or after the partition came back, changes nothing.
"""

from collections import deque
from collections.abc import Iterable, Mapping


class Assignment:
    """One partition from its assignment to its revocation. Offsets are next offsets (last one + 1)."""

    __slots__ = ("committed", "finished", "partition", "taken")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.taken: deque[tuple[Ticket, int]] = deque()
        self.finished = -1
        self.committed = -1


class Ticket:
    """A batch in hand. ``partitions`` are those it was taken from."""

    __slots__ = ("assignments", "done")

    def __init__(self, assignments: list[Assignment]) -> None:
        self.assignments = assignments
        self.done = False

    @property
    def partitions(self) -> set[int]:
        return {assignment.partition for assignment in self.assignments}


class Progress:
    """Assigned partitions and how far each is finished and committed."""

    def __init__(self) -> None:
        self._assigned: dict[int, Assignment] = {}

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(self._assigned)

    def assign(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._assigned[partition] = Assignment(partition)

    def revoke(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._assigned.pop(partition, None)

    def take(self, last: Mapping[int, int]) -> Ticket:
        """Notes a batch in hand; ``last`` is its last offset per partition, all of them assigned now."""
        ticket = Ticket([self._assigned[partition] for partition in last])
        for assignment in ticket.assignments:
            assignment.taken.append((ticket, last[assignment.partition] + 1))
        return ticket

    def finish(self, ticket: Ticket) -> None:
        """Every effect of the batch is acknowledged; calling it twice changes nothing."""
        ticket.done = True
        for assignment in ticket.assignments:
            taken = assignment.taken
            while taken and taken[0][0].done:
                assignment.finished = taken.popleft()[1]

    def to_commit(self, partitions: Iterable[int] | None = None) -> dict[int, int]:
        """Next offsets that are finished and not committed yet, of the assigned partitions (or of those named)."""
        chosen = self._assigned if partitions is None else [p for p in partitions if p in self._assigned]
        assigned = (self._assigned[partition] for partition in chosen)
        return {a.partition: a.finished for a in assigned if a.finished > a.committed}

    def committed(self, positions: Mapping[int, int]) -> None:
        for partition, position in positions.items():
            if assignment := self._assigned.get(partition):
                assignment.committed = max(assignment.committed, position)

    def forget_commits(self) -> None:
        """An asynchronous commit failed: what is finished is offered again."""
        for assignment in self._assigned.values():
            assignment.committed = -1
