"""The service over the in-memory twins: it follows the bundle, and answers while stores are down."""

import threading
import time
from typing import Any

import pytest
from msgspec.structs import replace

from recall.build import Live
from recall.query import Query, RecallStores
from recall.serving import Answers, LiveStores
from recall.together import TogetherIndex
from schemas.errors import BundleMismatch, Transient
from schemas.settings import Settings
from tests.recall.world import NOW, World


class Down:
    """A store that does not answer."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> None:
            raise Transient(self._what, "connection refused")

        return call


@pytest.fixture
def full(world: World) -> World:
    world.note("liked", "green tea", age_h=5)
    world.note("match", "green tea", age_h=4)
    world.note("other", "running shoes", age_h=2)
    world.note("mine", "green tea", author="u", age_h=1)
    world.note("old", "green tea", age_h=30)
    world.act("u", "like", "liked")
    return world


class Switch:
    """Stores that can be taken away."""

    def __init__(self, world: World) -> None:
        self.stores: RecallStores = world.stores
        self.encoder = world.encoder
        self.redis = True

    def __call__(self) -> Live:
        if not self.redis:
            raise Transient("redis", "connection refused")
        return Live(self.stores, self.encoder)


def test_without_redis_the_newest_notes_are_answered_and_it_is_said(full: World) -> None:
    live = Switch(full)
    answers = Answers(live, Settings())
    query = Query(user_id="u", as_of=NOW)
    assert answers.recall(query).results[0].note_id == "match"
    answers.refresh()
    live.redis = False
    answer = answers.recall(query)
    assert [one.note_id for one in answer.results] == ["other", "match", "liked"]
    assert [one.channels[0].name for one in answer.results] == ["fresh"] * 3
    assert len(answer.degraded) == 1 and "redis" in answer.degraded[0] and "newest" in answer.degraded[0]
    assert answers.recall(Query(user_id="u", as_of=NOW - 3 * 3_600_000, k=1)).results[0].note_id == "match"
    with pytest.raises(Transient):
        answers.profile("u", None, 5)
    with pytest.raises(Transient):
        answers.note("match")
    assert not answers.readiness().ready


def test_without_milvus_the_tag_index_steps_in(full: World) -> None:
    live = Switch(full)
    live.stores = replace(full.stores, index=Down("milvus"), weights={"tag_embedding": 1.0})
    answers = Answers(live, Settings())
    answer = answers.recall(Query(user_id="u", as_of=NOW))
    assert answer.results[0].note_id == "match"
    assert {part.name for part in answer.results[0].channels} >= {"tag_index_idf"}
    assert answer.degraded == ["tag_embedding: milvus is not available: connection refused"]
    found = answers.readiness()
    assert found.ready and set(found.down) == {"milvus"}
    asked = answers.recall(Query(user_id="u", as_of=NOW, channels=("tag_embedding",)))
    assert asked.results == [], "who names the channels gets no other"


def test_another_live_bundle_is_opened_beside_the_one_that_answers(full: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call waits for the opening, whatever it takes; one that fails leaves the bundle before in place."""
    opened: list[str] = []
    active, may_open = ["b1"], threading.Event()
    may_open.set()

    def fresh() -> Live:
        bundle = active[0]
        assert may_open.wait(10)
        opened.append(bundle)
        if bundle == "broken":
            raise BundleMismatch("broken: its directory is not here")
        return Live(replace(full.stores, bundle=bundle), full.encoder)

    def until(bundle: str) -> None:
        deadline = time.monotonic() + 10
        while live().stores.bundle != bundle:
            assert time.monotonic() < deadline, f"{bundle} never answered"

    live = LiveStores(fresh, lambda: active[0], 4)
    assert isinstance(live().stores.index, TogetherIndex)
    assert live() is live()
    monkeypatch.setattr("recall.serving.POINTER_S", 0.0)
    may_open.clear()
    active[0] = "b2"
    assert [live().stores.bundle for _ in range(3)] == ["b1"] * 3
    may_open.set()
    until("b2")
    assert opened == ["b1", "b2"]
    active[0] = "broken"
    for _ in range(3):
        assert live().stores.bundle == "b2"
    active[0] = "b3"
    until("b3")
    assert LiveStores(fresh, lambda: "b3", 1)().stores.index is full.index
