"""Figures in Redis, plain and cluster: whole values, removal, every partition found again."""

import msgspec
import pytest

from consumers.metrics_store import RedisMetrics
from recall.redis_client import redis_client
from schemas.errors import Transient


@pytest.fixture(params=["plain", "cluster"])
def store(request, settings):
    if request.param == "cluster":
        settings = msgspec.structs.replace(settings, redis_url=request.getfixturevalue("redis_cluster_url"))
    return RedisMetrics(redis_client(settings), settings.namespace)


def test_cells_are_put_replaced_and_removed(store):
    assert store.read() == {}
    store.put("readers", 3, {"[]": b"1", '[1,"a"]': b"[2]"})
    store.put("readers", 3, {"[]": b"5", '[1,"a"]': None})
    store.put("notes", 0, {"[]": b"0"})
    store.put("notes", 1, {"[]": None})
    assert store.read() == {"readers": {3: {"[]": b"5"}}, "notes": {0: {"[]": b"0"}, 1: {}}}


def test_a_server_that_is_away_is_said(settings):
    store = RedisMetrics(redis_client(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1/0")), "x")
    with pytest.raises(Transient, match="redis"):
        store.put("notes", 0, {"[]": b"1"})
    with pytest.raises(Transient, match="redis"):
        store.read()
