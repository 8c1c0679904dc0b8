"""One suite for the role ``ExplorationBudget``: in memory, on Redis and on a one-node Redis Cluster."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from recall.exploration_budget import MemoryExplorationBudget, RedisExplorationBudget
from recall.redis_client import redis_client
from recall.stores import ExplorationBudget
from schemas.errors import Transient
from schemas.keys import Keys

LONG_MS = 60_000


@pytest.fixture(params=["memory", "redis", "cluster"])
def budget(request: pytest.FixtureRequest) -> Iterator[ExplorationBudget]:
    if request.param == "memory":
        yield MemoryExplorationBudget()
        return
    settings = request.getfixturevalue("settings")
    if request.param == "cluster":
        settings = msgspec.structs.replace(settings, redis_url=request.getfixturevalue("redis_cluster_url"))
    client = redis_client(settings)
    yield RedisExplorationBudget(client, Keys(settings.namespace, "b1"))
    client.close()


def test_a_budget_goes_down_one_by_one_and_never_below_zero(budget: ExplorationBudget) -> None:
    assert budget.spent([]) == {}
    assert budget.spent(["n 1", "n2"]) == {"n 1": 0, "n2": 0}
    assert [budget.reserve("n 1", f"u{number}", 3, LONG_MS) for number in range(5)] == [2, 1, 0, None, None]
    assert budget.spent(["n 1", "n2", "n 1"]) == {"n 1": 3, "n2": 0}
    assert budget.reserve("n 1", "u9", 4, LONG_MS) == 0


def test_a_reader_is_granted_a_note_once(budget: ExplorationBudget) -> None:
    assert budget.reserve("n", "u 红", 3, LONG_MS) == 2
    assert budget.reserve("n", "u 红", 3, LONG_MS) is None
    assert budget.reserve("m", "u 红", 3, LONG_MS) == 2
    assert budget.spent(["n", "m"]) == {"n": 1, "m": 1}


def test_queries_at_the_same_time_grant_exactly_the_budget(budget: ExplorationBudget) -> None:
    """Twelve threads, each reader asked for twice, more readers than impressions."""
    start = threading.Barrier(12)

    def ask(worker: int) -> list[tuple[str, int]]:
        start.wait()
        left = [(f"u{number}", budget.reserve("n", f"u{number}", 25, LONG_MS)) for number in range(worker // 2, 120, 6)]
        return [(reader, one) for reader, one in left if one is not None]

    with ThreadPoolExecutor(12) as threads:
        granted = [one for each in threads.map(ask, range(12)) for one in each]
    assert len(granted) == len({reader for reader, _ in granted}) == 25
    assert sorted(left for _, left in granted) == list(range(25))
    assert budget.spent(["n"]) == {"n": 25}


def test_a_count_expires(budget: ExplorationBudget) -> None:
    assert budget.reserve("n", "u", 1, 1) == 0
    time.sleep(0.01)
    assert budget.spent(["n"]) == {"n": 0}


def test_redis_down_is_transient(settings) -> None:
    client = redis_client(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:9/0"))
    down = RedisExplorationBudget(client, Keys("ns", "b1"))
    for call in (lambda: down.spent(["n"]), lambda: down.reserve("n", "u", 1, LONG_MS)):
        with pytest.raises(Transient, match="redis"):
            call()
