"""The endpoint's client against a real server that misbehaves on request; pauses between attempts are noted, not waited for."""

import logging

import pytest

from models.chat_endpoint import ChatEndpoint, EndpointRefuses, EndpointSpec
from models.transcriber.correction import correct
from schemas.errors import Transient
from tests.models.chat_server import ChatServer, chat_server

ASK = [{"role": "user", "content": "tags?"}]
SCHEMA = {"type": "array"}


@pytest.fixture
def server():
    with chat_server(lambda body: "fine") as running:
        yield running


class Asking:
    """An endpoint whose pauses are recorded and whose circuit's clock stands until it is moved."""

    def __init__(self, server: ChatServer, **spec) -> None:
        self.pauses: list[float] = []
        self.now = 0.0
        defaults = {"url": server.url, "model": "m", "timeout_s": 10.0}
        self.endpoint = ChatEndpoint(EndpointSpec(**(defaults | spec)), sleep=self.sleep, clock=lambda: self.now)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.close()


@pytest.mark.parametrize("fault", [429, 500, 503, "close", "html", "half", "empty"])
def test_what_passes_is_asked_again(server, fault):
    server.faults.extend([fault, fault])
    with Asking(server) as asking:
        assert asking.endpoint.complete(ASK).text == "fine"
        assert len(server.asked) == 3 and len(asking.pauses) == 2
        assert 0.25 <= asking.pauses[0] <= 0.5 and 0.5 <= asking.pauses[1] <= 1.0
        assert asking.endpoint.answers


def test_a_server_that_says_when_is_heeded(server):
    server.faults.append((429, {"Retry_After": "7"}))
    with Asking(server) as asking:
        assert asking.endpoint.complete(ASK).text == "fine"
        assert 7.0 <= asking.pauses[0] <= 7.25


def test_longer_than_an_answer_may_take_is_not_waited_for(server):
    server.faults.append((503, {"Retry_After": "3600"}))
    with Asking(server) as asking:
        with pytest.raises(Transient, match="it answers 503"):
            asking.endpoint.complete(ASK)
        assert asking.pauses == [] and len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_is_not_asked_again_and_says_nothing_against_the_endpoint(server, status):
    server.faults.extend([status] * 3)
    with Asking(server, failures=1) as asking:
        for _ in range(3):
            with pytest.raises(EndpointRefuses, match=str(status)):
                asking.endpoint.complete(ASK)
        assert len(server.asked) == 3 and asking.endpoint.answers


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_counts_as_down_at_once(server, status):
    server.faults.append(status)
    with Asking(server, failures=1) as asking:
        with pytest.raises(Transient, match=str(status)):
            asking.endpoint.complete(ASK)
        assert len(server.asked) == 1 and not asking.endpoint.answers


def test_a_server_that_hangs_is_left_when_the_time_is_over(server):
    server.faults.append("hang")
    with Asking(server, timeout_s=0.2, failures=1) as asking:
        with pytest.raises(Transient, match=r"within 0\.2 s|no connection"):
            asking.endpoint.complete(ASK)
        assert not asking.endpoint.answers


def test_while_the_circuit_is_open_nobody_asks_and_a_probe_closes_it(server):
    server.faults.extend([500] * 4)
    with Asking(server, failures=2, attempts=2, cool_down_s=30.0) as asking:
        for _ in range(5):
            with pytest.raises(Transient):
                asking.endpoint.complete(ASK)
        assert len(server.asked) == 4
        assert not asking.endpoint.probe() and len(server.asked) == 4, "still cooling down"
        asking.now = 30.0
        assert asking.endpoint.probe() and server.asked[-1]["max_tokens"] == 1
        assert asking.endpoint.probe() and len(server.asked) == 5, "it is known to answer"
        assert asking.endpoint.complete(ASK).text == "fine"


def test_a_transcript_is_put_right_through_it_where_the_guard_allows(server):
    answers = iter(["a wide toe box", "a wide toe box, now 20 % off"])
    server.answer = lambda body: next(answers)
    with Asking(server) as asking:
        assert correct("a wide tow box", ["Glide"], asking.endpoint.say).text == "a wide toe box"
        refused = correct("a wide tow box", [], asking.endpoint.say)
    assert refused.text == "a wide tow box" and refused.refused
    assert "response_format" not in server.asked[0] and "a wide tow box" in server.asked[0]["messages"][0]["content"]


def test_what_never_answered_yet_is_probed(server):
    server.faults.append(401)
    with Asking(server) as asking:
        assert not asking.endpoint.probe() and asking.endpoint.probe()
        assert len(server.asked) == 2


def test_nobody_listens():
    with chat_server() as gone:
        pass
    with Asking(gone, failures=1, attempts=2) as asking:
        with pytest.raises(Transient, match="no connection"):
            asking.endpoint.complete(ASK)
        assert len(asking.pauses) <= 1 and not asking.endpoint.answers


def test_so_many_at_a_time_and_answers_in_order(server):
    server.slow_s = 0.05
    server.answer = lambda body: body["messages"][0]["content"]
    with Asking(server, concurrency=3) as asking:
        answers = asking.endpoint.ask_all([([{"role": "user", "content": f"q{number}"}], None, 9) for number in range(9)])
    assert [answer.text for answer in answers] == [f"q{number}" for number in range(9)]
    assert server.most <= 3 and len(server.asked) == 9


def test_one_bad_request_does_not_touch_the_others(server):
    server.faults.append(422)
    with Asking(server, concurrency=1) as asking:
        refused, fine = asking.endpoint.ask_all([(ASK, None, 9), (ASK, None, 9)])
    assert isinstance(refused, EndpointRefuses) and fine.text == "fine"


@pytest.mark.parametrize(
    ("structured", "path"),
    [("json_schema", ("response_format", "json_schema", "schema")), ("vllm", ("structured_outputs", "json")), ("off", ())],
)
def test_how_the_schema_is_sent(server, structured, path):
    with Asking(server, structured=structured, priority=10) as asking:
        asking.endpoint.complete(ASK, SCHEMA)
    (body,) = server.asked
    assert {"response_format", "structured_outputs"} & set(body) == set(path[:1])
    found = body
    for name in path:
        found = found[name]
    assert not path or found == SCHEMA
    assert (body["priority"], body["temperature"], body["model"]) == (10, 0.0, "m")


def test_no_priority_is_sent_unless_asked_for(server):
    with Asking(server) as asking:
        asking.endpoint.complete(ASK)
    assert not {"priority", "logprobs", "response_format"} & set(server.asked[0])


def test_the_key_is_sent_and_never_told(server, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key-1")
    caplog.set_level(logging.DEBUG)
    server.faults.extend([401])
    with Asking(server) as asking, pytest.raises(Transient) as caught:
        asking.endpoint.complete(ASK)
    assert server.keys == ["Bearer secret-key-1"]
    assert "secret-key-1" not in str(caught.value) + caplog.text + repr(asking.endpoint.spec)
