"""One suite for the role ``CanaryLog``: in memory, on Redis and on a one-node Redis Cluster."""

from collections.abc import Iterator

import msgspec
import pytest

from consumers import canary_log
from consumers.canary_log import CanaryLog, CanaryRun, MemoryCanaryLog, OpenCanary, RedisCanaryLog, slot_id
from recall.redis_client import redis_client
from schemas.canary import is_canary
from schemas.errors import Transient

FIRST = OpenCanary(slot_id(1), 10, 99)


@pytest.fixture(params=["memory", "redis", "cluster"])
def memory(request: pytest.FixtureRequest) -> Iterator[CanaryLog]:
    if request.param == "memory":
        yield MemoryCanaryLog()
        return
    settings = request.getfixturevalue("settings")
    if request.param == "cluster":
        settings = msgspec.structs.replace(settings, redis_url=request.getfixturevalue("redis_cluster_url"))
    client = redis_client(settings)
    yield RedisCanaryLog(client, settings.namespace)
    client.close()


def test_a_slot_is_taken_once_and_changed_only_by_who_knows_it(memory: CanaryLog) -> None:
    assert memory.open() == []
    assert memory.replace(FIRST.note_id, None, FIRST)
    rival = OpenCanary(FIRST.note_id, 11, 100)
    assert not memory.replace(FIRST.note_id, None, rival), "it is taken"
    assert not memory.replace(FIRST.note_id, rival, None)
    assert memory.open() == [FIRST]
    deleted = msgspec.structs.replace(FIRST, deleted_at=12)
    assert memory.replace(FIRST.note_id, FIRST, deleted)
    assert not memory.replace(FIRST.note_id, FIRST, None), "somebody else changed it"
    assert memory.open() == [deleted]
    assert memory.replace(FIRST.note_id, deleted, None)
    assert memory.open() == []
    assert memory.replace(FIRST.note_id, None, rival)


def test_open_canaries_come_oldest_first(memory: CanaryLog) -> None:
    entries = [OpenCanary(slot_id(number), at, 99) for number, at in enumerate((30, 10, 20))]
    for entry in entries:
        assert memory.replace(entry.note_id, None, entry)
    assert [entry.at for entry in memory.open()] == [10, 20, 30]


def test_runs_come_newest_first_and_the_oldest_are_forgotten(memory: CanaryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_log, "RUNS_KEPT", 4)
    assert memory.runs() == []
    runs = [CanaryRun(at, slot_id(at), "late" if at % 2 else "found", None if at % 2 else at / 2, f"no. {at} 红") for at in range(7)]
    for run in runs:
        memory.add_run(run)
    assert memory.runs() == runs[:2:-1]
    assert memory.runs(since=5) == [runs[6], runs[5]]


def test_slots_go_round_and_are_canaries() -> None:
    ids = [slot_id(number) for number in range(100)]
    assert len(set(ids)) == canary_log.SLOTS
    assert all(map(is_canary, ids)) and not is_canary("note-17")


def test_redis_down_is_transient(settings) -> None:
    down = RedisCanaryLog(redis_client(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:9/0")), "ns")
    for call in (down.open, down.runs, lambda: down.add_run(CanaryRun(1, "n", "found")), lambda: down.replace("n", None, FIRST)):
        with pytest.raises(Transient, match="redis"):
            call()
