"""A model that works on one request at a time and keeps the others waiting in the order that a server does, and who waited for whom."""

import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """A request. ``model``: the name it asks for; ``waiting``: requests of other names that waited when it came; ``passed``: how many of
    those, or of later ones, were begun before it was."""

    model: str
    waiting: int
    passed: int = 0
    begun: bool = False


@dataclass
class OneSlot:
    """An ``answer`` for ``chat_server``. Waiting requests go by priority, lower first, then by arrival, as vLLM's do; or by arrival alone,
    as those of servers that know no priorities. While ``held`` nothing is begun."""

    answer: Callable[[dict[str, Any]], str]
    priorities: bool = True
    service_s: float = 0.01
    held: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[int, int]] = []
        self._busy = False
        self.asked: list[Asked] = []

    def __call__(self, body: dict[str, Any]) -> str:
        with self._changed:
            mine = Asked(body["model"], sum(not one.begun and one.model != body["model"] for one in self.asked))
            place = (body.get("priority", 0) if self.priorities else 0, len(self.asked))
            self.asked.append(mine)
            heapq.heappush(self._queue, place)
            self._changed.wait_for(lambda: not self._busy and not self.held.is_set() and self._queue[0] == place)
            heapq.heappop(self._queue)
            self._busy, mine.begun = True, True
            for other in self.asked:
                other.passed += not other.begun and other.model != mine.model
        time.sleep(self.service_s)
        with self._changed:
            self._busy = False
            self._changed.notify_all()
        return self.answer(body)

    def hold(self) -> None:
        """What is begun is finished, and nothing else begins."""
        self.held.set()

    def go_on(self) -> None:
        """Ends ``hold``."""
        with self._changed:
            self.held.clear()
            self._changed.notify_all()

    def of(self, model: str) -> list[Asked]:
        """The requests for a model so far, in the order in which they came."""
        with self._changed:
            return [one for one in self.asked if one.model == model]

    def waiting(self, model: str) -> int:
        """Requests for a model that came and are not begun."""
        return sum(not one.begun for one in self.of(model))
