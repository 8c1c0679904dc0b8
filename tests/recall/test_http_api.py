"""The HTTP API over the in-memory twins: the answers of the commands, errors by field, the token, deadlines."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from recall.build import Live
from recall.http_api import create_app
from recall.http_body import BODY_MAX_BYTES
from recall.query import Query
from recall.serving import Answers
from schemas.errors import Transient
from schemas.settings import Settings
from tests.recall.world import NOW, World

Call = Callable[..., httpx.Response]


@pytest.fixture
def full(world: World) -> World:
    world.note("liked", "green tea", "clay pot", age_h=5)
    world.note("match", "green tea", age_h=4)
    world.act("u", "like", "liked")
    return world


def caller(answers: Answers, settings: Settings) -> Call:
    app = create_app(answers, settings)

    def call(method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    return call


@pytest.fixture
def call(full: World) -> Call:
    return caller(Answers(lambda: Live(full.stores, full.encoder), Settings()), Settings(serve_timeout_s=5))


def test_recall_is_what_the_query_answers(call: Call, full: World) -> None:
    answer = call("POST", "/recall", json={"user_id": "u", "as_of": NOW, "explain": True})
    assert answer.status_code == 200
    assert answer.json() == json.loads(msgspec.json.encode(full.recall("u", explain=True)))
    assert answer.json()["results"][0]["note_id"] == "match"


def test_notes_and_profiles(call: Call, full: World) -> None:
    note = call("GET", "/notes/match").json()
    assert (note["state"], [tag["text"] for tag in note["tags"]]) == ("recallable", ["green tea"])
    absent = call("GET", "/notes/never")
    assert (absent.status_code, absent.json()["state"]) == (404, "unknown")
    profile = call("GET", "/users/u/profile", params={"as_of": NOW, "k": 1}).json()
    assert profile["actions"] == 1 and len(profile["tags"]) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "$.user_id"),
        ({"user_id": ""}, "$.user_id"),
        ({"user_id": "é" * 129}, "$.user_id"),
        ({"user_id": 7}, "$.user_id"),
        ({"user_id": "u", "k": 0}, "$.k"),
        ({"user_id": "u", "k": "20"}, "$.k"),
        ({"user_id": "u", "fresh_within": "soon"}, "$.fresh_within"),
        ({"user_id": "u", "as_of": -1}, "$.as_of"),
        ({"user_id": "u", "channels": []}, "$.channels"),
        ({"user_id": "u", "channels": ["nonsense"]}, "$.channels"),
        ({"user_id": "u", "channels": ["two_tower"]}, "$.channels"),
        ({"user_id": "u", "explian": True}, "$.explian"),
        ({"user_id": "u", "spend": True, "as_of": 5}, "$"),
        ([], "$"),
    ],
)
def test_what_is_wrong_is_said_by_field(call: Call, body: Any, field: str) -> None:
    answer = call("POST", "/recall", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field and error["reason"]


def test_bodies_that_are_no_question(call: Call) -> None:
    assert call("POST", "/recall", content=b"{").json()["errors"][0]["field"].startswith("$")
    assert call("POST", "/recall", content=b" " * (BODY_MAX_BYTES + 1)).status_code == 413

    async def drips() -> Any:
        for _ in range(20):
            yield b" " * 8_192

    assert call("POST", "/recall", content=drips()).status_code == 413
    assert call("GET", "/users/u/profile", params={"k": 0}).json()["errors"][0]["field"] == "k"
    assert call("GET", "/nowhere").status_code == 404
    assert call("GET", f"/notes/{'x' * 300}").status_code == 422


def test_the_token_is_asked_for_where_there_is_one(full: World) -> None:
    call = caller(Answers(lambda: Live(full.stores, full.encoder), Settings()), Settings(serve_token="s3cret"))
    paths = [("POST", "/recall"), ("GET", "/notes/match"), ("GET", "/users/u/profile"), ("GET", "/metrics")]
    for method, path in paths:
        assert call(method, path, json={"user_id": "u"}).status_code == 401
        assert call(method, path, json={"user_id": "u"}, headers={"Authorization": "Bearer s3cre"}).status_code == 401
        assert call(method, path, json={"user_id": "u"}, headers={"Authorization": "Basic s3cret"}).status_code == 401
        assert call(method, path, json={"user_id": "u"}, headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert call("GET", "/health").status_code == 200 == call("GET", "/ready").status_code


def test_a_late_recall_is_answered_from_the_newest_notes(full: World) -> None:
    answers = Answers(lambda: Live(full.stores, full.encoder), Settings())
    answers.refresh()
    slow = answers.recall

    def dawdling(query: Query) -> Any:
        time.sleep(0.4)
        return slow(query)

    answers.recall = dawdling  # type: ignore[method-assign]
    call = caller(answers, Settings(serve_timeout_s=0.05))
    answer = call("POST", "/recall", json={"user_id": "u", "as_of": NOW}).json()
    assert [one["note_id"] for one in answer["results"]] == ["match", "liked"]
    assert "no answer within 0.05 s" in answer["degraded"][0]


def test_stores_that_are_down(full: World) -> None:
    def gone() -> Any:
        raise Transient("redis", "connection refused")

    call = caller(Answers(gone, Settings()), Settings())
    answer = call("POST", "/recall", json={"user_id": "u"})
    assert answer.status_code == 200 and "redis" in answer.json()["degraded"][0]
    for path in ("/notes/n", "/users/u/profile"):
        down = call("GET", path)
        assert (down.status_code, down.headers["retry-after"]) == (503, "1")
        assert "redis" in down.json()["errors"][0]["reason"]
    ready = call("GET", "/ready")
    assert ready.status_code == 503 and "redis" in ready.json()["down"]
    assert call("GET", "/health").json() == {"status": "ok"}


def test_metrics_count_requests_by_route(full: World) -> None:
    stores = replace(full.stores)
    call = caller(Answers(lambda: Live(stores, full.encoder), Settings()), Settings())
    call("GET", "/notes/match")
    call("GET", "/notes/liked")
    call("POST", "/recall", json={})
    text = call("GET", "/metrics").text
    assert 'tagstream_http_requests_total{route="/notes/{note_id}",status="200"} 2.0' in text
    assert 'tagstream_http_requests_total{route="/recall",status="422"} 1.0' in text


def test_openapi_has_the_shapes_of_questions_and_answers(call: Call) -> None:
    document = call("GET", "/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert {"RecallRequest", "Recalled", "Result", "ProfileView", "Inspected"} <= set(schemas)
    assert schemas["RecallRequest"]["examples"]
    text = json.dumps(document)
    for part in text.split('"$ref": "')[1:]:
        assert part.partition('"')[0].removeprefix("#/components/schemas/") in schemas
