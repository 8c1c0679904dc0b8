"""The offline chat client against a real server that misbehaves on request; pauses are noted, not waited for."""

import json
import logging
import signal
import subprocess
import sys
from itertools import count

import msgspec
import pytest

from models.chat_endpoint import EndpointRefuses
from offline.chat.client import ChatClient, ChatReply, ChatRequest, ChatSpec, estimated_tokens, request_key
from offline.chat.prices import OverBudget
from schemas.errors import BadSetting, MissingPrerequisite, Transient
from tests.models.chat_server import chat_server, completion

SCHEMA = {"type": "array"}


def request(text: str, **more) -> ChatRequest:
    return ChatRequest(messages=[{"role": "user", "content": text}], **more)


def echo(body):
    text = body["messages"][0]["content"]
    return completion(f"re {text}") | {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}


@pytest.fixture
def server():
    with chat_server(echo) as running:
        yield running


@pytest.fixture
def ask(server, tmp_path):
    """Makes clients whose pauses pass at once on a clock of their own; ``client.pauses`` notes them."""
    made = []

    def make(*, recorded: bool = True, **spec) -> ChatClient:
        pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        spec = {"url": server.url, "model": "m", "timeout_s": 10.0} | spec
        client = ChatClient(ChatSpec(**spec), tmp_path / "recordings" if recorded else None, sleep=sleep, clock=lambda: sum(pauses))
        client.pauses = pauses
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


def prices(tmp_path, **models) -> str:
    file = tmp_path / "prices.yaml"
    file.write_text(json.dumps({"models": models}))
    return str(file)


def test_an_answer_is_paid_for_once(server, ask, tmp_path):
    first = ask(prices=prices(tmp_path, m={"prompt": 2.0, "completion": 4.0}))
    assert first.ask(request("a", schema=SCHEMA)) == ChatReply("re a", False, 10, 5, False)
    assert first.ask(request("a", schema=SCHEMA)) == ChatReply("re a", False, 10, 5, True)
    assert (first.spent.requests, first.spent.recorded, first.spent.prompt_tokens, first.spent.completion_tokens) == (1, 1, 10, 5)
    assert first.spent.cost == pytest.approx(40e-6)
    elsewhere = ask(url="", replay_only=True, concurrency=3)
    assert elsewhere.ask(request("a", schema=SCHEMA)).text == "re a" and elsewhere.spent.cost is None
    assert len(server.asked) == 1
    (file,) = (tmp_path / "recordings").iterdir()
    assert "user" not in file.read_text()


def test_the_key_of_a_recording_holds_whatever_changes_the_answer():
    spec = ChatSpec(url="http://a/v1", model="m")
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
    other = json.loads(json.dumps(picture).replace("AAAA", "AAAB"))
    keys = [
        request_key(spec, request("a")),
        request_key(spec, request("b")),
        request_key(spec, request("a", schema=SCHEMA)),
        request_key(spec, request("a", max_tokens=3)),
        request_key(msgspec.structs.replace(spec, model="n"), request("a")),
        request_key(msgspec.structs.replace(spec, temperature=1.0), request("a")),
        request_key(spec, ChatRequest(messages=picture)),
        request_key(spec, ChatRequest(messages=other)),
    ]
    assert len(set(keys)) == len(keys)
    moved = ChatSpec(url="http://b/v1", model="m", concurrency=2, max_cost=3.0, structured="off")
    assert request_key(moved, request("a")) == keys[0]


def test_what_passes_is_asked_again_and_a_server_that_says_when_is_heeded(server, ask):
    server.faults.extend([(429, {"Retry_After": "90"}), 503, 408, 425, "close"])
    client = ask()
    assert client.ask(request("a")).text == "re a"
    assert len(server.asked) == 6 and 90.0 <= client.pauses[0] <= 91.0 and 2.0 <= client.pauses[1] <= 4.0


def test_a_refusal_is_told_and_not_recorded(server, ask):
    server.faults.append(400)
    client = ask()
    with pytest.raises(EndpointRefuses):
        client.ask(request("a"))
    assert client.ask(request("a")) == ChatReply("re a", False, 10, 5, False)


def test_a_hanging_attempt_is_left_and_made_again(server, ask):
    server.faults.append("hang")
    assert ask(timeout_s=0.3).ask(request("a")).text == "re a"
    assert len(server.asked) == 2


def test_all_are_answered_under_their_names_and_drawn_only_a_little_ahead(server, ask):
    drawn = count()

    def source():
        for number in range(40):
            next(drawn)
            yield number, request(f"q{number % 30}")

    server.faults.append(422)
    client = ask(concurrency=2)
    answers = client.ask_all(source())
    first = next(answers)
    assert next(drawn) <= 6
    found = dict([first, *answers])
    refused = [number for number, reply in found.items() if isinstance(reply, EndpointRefuses)]
    assert len(found) == 40 and len(refused) == 1
    assert all(found[number].text == f"re q{number % 30}" for number in found if number not in refused)
    assert server.most <= 2 and client.spent.requests + client.spent.recorded == 39


def test_requests_alike_are_asked_once_at_a_time(server, ask):
    server.slow_s = 0.1
    found = dict(ask(recorded=False).ask_all([(number, request("same")) for number in range(9)]))
    assert len(found) == 9 and len(server.asked) == 1


def test_an_endpoint_that_stays_away_ends_the_run(server, ask):
    server.faults.extend([500] * 999)
    replies = []
    with pytest.raises(Transient, match="it answers 500"):
        replies.extend(ask(attempts=2, concurrency=2).ask_all((number, request(f"{number}")) for number in count()))
    assert len(server.asked) < 30


def test_the_budget_is_kept(server, ask, tmp_path):
    table = prices(tmp_path, m={"prompt": 0.0, "completion": 1e6})
    client = ask(prices=table, max_cost=100.0, concurrency=4)
    replies = []
    with pytest.raises(OverBudget, match=r"--max-cost"):
        for _, reply in client.ask_all((number, request(f"{number}", max_tokens=10)) for number in count()):
            replies.append(reply)
    assert 60.0 <= client.spent.cost <= 100.0, "what open requests might cost is held back"
    assert client.spent.cost == 5.0 * client.spent.requests
    assert all(isinstance(reply, OverBudget | ChatReply) for reply in replies)
    with pytest.raises(BadSetting, match="no price of other"):
        ask(model="other", prices=table, max_cost=1.0)


def test_limits_per_minute_are_kept_by_waiting(server, ask):
    client = ask(requests_per_min=60, concurrency=1)
    assert len(list(client.ask_all((number, request(f"{number}")) for number in range(11)))) == 11
    assert 8.0 <= sum(client.pauses) <= 11.0


def test_tokens_are_corrected_by_what_was_used(server, ask):
    client = ask(tokens_per_min=1500, concurrency=1)
    for number in range(8):
        client.ask(request(f"{number}", max_tokens=1000))
    assert sum(client.pauses) < 10.0, "15 tokens each, not 1000"


def test_what_is_missing_in_a_replay_is_named(server, ask):
    ask().ask(request("a"))
    client = ask(replay_only=True)
    found = dict(client.ask_all([(name, request(name)) for name in ("a", "b")]))
    assert found["a"].recorded and isinstance(found["b"], MissingPrerequisite)
    assert request_key(client.spec, request("b"))[:12] in str(found["b"])
    with pytest.raises(MissingPrerequisite, match="without --replay-only"):
        client.ask(request("b"))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"url": "here"}, "--endpoint"),
        ({"url": "http://me:key@h/v1"}, "OPENAI_API_KEY"),
        ({"model": ""}, "--model"),
        ({"replay_only": True, "recorded": False}, "--recordings"),
    ],
)
def test_a_spec_that_cannot_work_names_its_field(ask, spec, field):
    with pytest.raises(BadSetting, match=field):
        ask(**spec)


def test_the_key_is_sent_and_never_told(server, ask, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key-1")
    caplog.set_level(logging.DEBUG)
    server.faults.append(401)
    client = ask()
    with pytest.raises(Transient) as caught:
        client.ask(request("a"))
    client.ask(request("a"))
    kept = "".join(file.read_text() for file in (tmp_path / "recordings").iterdir())
    assert set(server.keys) == {"Bearer secret-key-1"} and "secret-key-1" not in str(caught.value) + caplog.text + kept


def test_a_server_that_tells_no_tokens_has_them_estimated(server, ask):
    server.answer = lambda body: "x" * 300
    reply = ask(recorded=False).ask(request("y" * 300))
    assert reply.prompt_tokens >= 100 and reply.completion_tokens >= 100
    picture = {"type": "image_url", "image_url": {"url": "data:" + "A" * 999_999}}
    assert estimated_tokens([{"role": "user", "content": [picture]}]) < 2000


RUN = """
import sys
from pathlib import Path
from offline.chat.client import ChatClient, ChatRequest, ChatSpec
client = ChatClient(ChatSpec(url=sys.argv[1], model="m", concurrency=2), Path(sys.argv[2]))
asked = ((n, ChatRequest(messages=[{"role": "user", "content": f"q{n}"}])) for n in range(12))
for name, reply in client.ask_all(asked):
    print(name, flush=True)
"""


def test_a_kill_never_pays_twice(server, ask, tmp_path):
    server.slow_s = 0.02
    with subprocess.Popen([sys.executable, "-c", RUN, server.url, str(tmp_path / "recordings")], stdout=subprocess.PIPE, text=True) as run:
        told = [int(run.stdout.readline()) for _ in range(5)]
        run.send_signal(signal.SIGKILL)
    server.slow_s = 0.0
    paid_before = len(server.asked)
    client = ask(concurrency=2)
    found = dict(client.ask_all((number, request(f"q{number}")) for number in range(12)))
    assert len(found) == 12 and all(found[number].recorded for number in told)
    assert client.spent.recorded >= 5 and len(server.asked) - paid_before == 12 - client.spent.recorded
    assert len(server.asked) <= 12 + 2, "only what was under way at the kill"
