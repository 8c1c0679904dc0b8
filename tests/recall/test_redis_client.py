"""Commands that read, sent past the client's own pipeline."""

import pytest
import redis

from recall.redis_client import read_all, redis_client, run_all
from schemas.errors import Transient
from schemas.settings import Settings


def test_answers_are_those_of_a_pipeline(settings: Settings) -> None:
    client = redis_client(settings)
    key = f"{{x}}:{settings.namespace}:z"
    client.zadd(key, {"a": 1, "b": 2, "é": 2.5})
    calls = [("ZREVRANGEBYSCORE", key, "+inf", 2, "LIMIT", 0, 5), ("GET", key + "nothing"), ("ZCARD", key)]
    assert read_all(client, calls) == run_all(client, calls) == [["é".encode(), b"b"], None, 3]
    assert read_all(client, calls[:1]) == [["é".encode(), b"b"]]
    assert read_all(client, []) == []


def test_an_error_among_the_answers_is_raised_and_leaves_no_answer_behind(settings: Settings) -> None:
    client = redis_client(settings)
    key = f"{{x}}:{settings.namespace}:text"
    client.set(key, "text")
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            read_all(client, [("GET", key), ("ZCARD", key), ("GET", key)])
        assert read_all(client, [("GET", key), ("STRLEN", key)]) == [b"text", 4]


def test_a_connection_that_broke_is_tried_once_more(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis_client(settings)
    key = f"{{x}}:{settings.namespace}:text"
    client.set(key, "text")
    sends, send, broken = [0], redis.Connection.send_packed_command, 1

    def breaking(self: redis.Connection, command: list[bytes], **named: object) -> None:
        send(self, command, **named)
        if b"STRLEN" in b"".join(command):
            sends[0] += 1
            if sends[0] <= broken:
                self._sock.close()

    monkeypatch.setattr(redis.Connection, "send_packed_command", breaking)
    assert read_all(client, [("GET", key), ("STRLEN", key)]) == [b"text", 4]
    sends[0], broken = 0, 2
    with pytest.raises(Transient, match="redis"):
        read_all(client, [("GET", key), ("STRLEN", key)])
    monkeypatch.undo()
    assert read_all(client, [("GET", key)]) == [b"text"]
