"""How far the live consumers are behind, asked again and again: while it is too much, a backfill waits for them."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from schemas.settings import Settings
from streams.client import ASK_S, admin_client
from streams.groups import left, members

log = logging.getLogger(__name__)
ASK_EVERY_S = 0.5


class LagGate:
    """Closed while a live group with members is further behind than its bound, until each is at most half as far (a
    ``streams.replay.Gate``).

    A group without members is not waited for: nothing would ever bring it forward. Where the broker does not answer the last answer holds.

    Args:
        topics: by consumer group the topic it reads.
        bounds: by consumer group, in records.
    """

    def __init__(self, settings: Settings, topics: Mapping[str, str], bounds: Mapping[str, int]) -> None:
        self._settings = settings
        self._topics = dict(topics)
        self._bounds = dict(bounds)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-lag", daemon=True)
        self.closed = False
        self.behind: dict[str, int] = {}
        self.closures = 0

    def __enter__(self) -> "LagGate":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(ASK_S)

    def decide(self, behind: Mapping[str, int]) -> None:
        """Closes or opens by what is known now."""
        self.behind = dict(behind)
        closed = any(count > self._bounds[group] / (2 if self.closed else 1) for group, count in behind.items())
        self.closures += closed and not self.closed
        self.closed = closed

    def _run(self) -> None:
        from confluent_kafka import KafkaException

        admin = admin_client(self._settings)
        while not self._over.wait(ASK_EVERY_S):
            try:
                self.decide(lags(admin, self._topics))
            except KafkaException as error:
                log.info("how far the live consumers are behind is not known: %s", error.args[0].str())


def lags(admin: Any, topics: Mapping[str, str]) -> dict[str, int]:
    """Records behind, of each group that has members."""
    present = members(admin, list(topics))
    return {group: left(admin, group, topic) for group, topic in topics.items() if present[group]}
