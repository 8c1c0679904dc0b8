"""Where the metrics job puts its figures and ``tagstream metrics`` finds them: Redis, one hash of cells per table and partition."""

from collections.abc import Mapping
from typing import Any

from recall.redis_client import Client, redis_errors
from schemas.keys import metrics_key
from streams.metric_report import Cells


class RedisMetrics:
    """``streams.metrics_app.Sink`` on Redis, and its reading side. Figures belong to the namespace, not to a bundle."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client: Any = client
        self._namespace = namespace
        self._parts = metrics_key(namespace, "parts", 0)

    def put(self, table: str, partition: int, cells: Mapping[str, bytes | None]) -> None:
        """Whole values, so that putting them twice is harmless.

        Raises:
            Transient: when Redis does not answer.
        """
        key = metrics_key(self._namespace, table, partition)
        there = {name: value for name, value in cells.items() if value is not None}
        gone = [name for name, value in cells.items() if value is None]
        with redis_errors():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.sadd(self._parts, f"{table}/{partition}")
            if there:
                pipeline.hset(key, mapping=there)
            if gone:
                pipeline.hdel(key, *gone)
            pipeline.execute()

    def read(self) -> Cells:
        """Every cell.

        Raises:
            Transient: when Redis does not answer.
        """
        found: dict[str, dict[int, dict[str, bytes]]] = {}
        with redis_errors():
            parts = sorted(part.decode() for part in self._client.smembers(self._parts))
            pipeline = self._client.pipeline(transaction=False)
            places = [(table, int(number)) for table, _, number in (part.partition("/") for part in parts)]
            for table, partition in places:
                pipeline.hgetall(metrics_key(self._namespace, table, partition))
            answers = pipeline.execute() if places else []
        for (table, partition), cells in zip(places, answers, strict=True):
            found.setdefault(table, {})[partition] = {name.decode(): value for name, value in cells.items()}
        return found
