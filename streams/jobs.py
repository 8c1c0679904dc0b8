"""What a job is, what limits it runs under, and what it reports."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from schemas.errors import TagStreamError
from schemas.events import Event
from schemas.settings import Settings
from schemas.topics import Topic
from schemas.writes import Write
from streams.filling import Events
from streams.roles import Gathered

E = TypeVar("E", bound=Event)


class Job(Struct, Generic[E], frozen=True, kw_only=True):
    """One consumer. ``topic`` is already within its namespace; ``handle`` decides and returns writes, in the order of the events.

    ``handle`` may raise ``Transient`` (called again later), ``PoisonBatch`` or ``InvalidEvent`` (called again with halves). It is called
    from one thread, never twice at a time, and it must not apply anything itself. An empty ``group`` becomes ``tagstream-<name>``, within
    the namespace.

    ``handle`` gets what ``gather`` made and the events were added to: by default ``Sequence[Received[E]]``.
    """

    name: str
    topic: Topic
    handle: Callable[[Any], list[Write]]
    batch_size: int
    batch_age_s: float
    group: str = ""
    gather: Callable[[], Gathered] = Events

    def group_id(self, namespace: str = "") -> str:
        """The consumer group's id."""
        if self.group:
            return self.group
        return f"{namespace}.tagstream-{self.name}" if namespace else f"tagstream-{self.name}"


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of an engine. ``patience_s``: how long a batch may take before its partitions are paused and polling goes on beside it;
    ``settle_s``: how long a revoke waits for the batch in hand."""

    retry_max_s: float = 10.0
    dead_letters_in_a_row: int = 1000
    patience_s: float = 1.0
    settle_s: float = 10.0
    commit_interval_s: float = 0.5

    @staticmethod
    def of(settings: Settings) -> "Limits":
        return Limits(retry_max_s=settings.retry_max_s, dead_letters_in_a_row=settings.dead_letters_in_a_row)


class Counts(Struct):
    """What a run did. ``handled``: events finished other than by dead letter, whether or not they changed anything;
    ``skipped_as_applied`` and ``stale`` are the handlers' and stores' own counts among them."""

    handled: int = 0
    dead_lettered: int = 0
    skipped_as_applied: int = 0
    stale: int = 0

    def to_dict(self) -> dict[str, int]:
        """For ``--json``."""
        return msgspec.structs.asdict(self)


class Stop:
    """A request to end. It holds a flag only, so a signal handler may set it at any instruction."""

    __slots__ = ("requested",)

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        self.requested = True


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[Stop]:
    """SIGTERM and SIGINT request a stop, within the block and in the main thread."""

    def request(_signal: int, _frame: FrameType | None) -> None:
        stop.request()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous: dict[int, Any] = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class PublishFailed(TagStreamError):
    """Records that no broker will take. ``refused`` holds (topic, reason); ``too_large`` when that is the only reason."""

    def __init__(self, refused: list[tuple[str, str]], *, too_large: bool = False) -> None:
        topic, reason = refused[0]
        super().__init__(f"{len(refused)} records were refused, first by {topic}: {reason}")
        self.refused = refused
        self.too_large = too_large
