"""The pointer to the live bundle."""

import threading
from typing import Any

import msgspec
import pytest

from recall.pointer import (
    Registered,
    Switch,
    activate_if_none,
    active_bundle,
    history,
    move,
    pointer_key,
    register,
    registered,
    unregister,
)  # fmt: skip
from recall.redis_client import redis_client
from schemas.errors import Transient


def test_the_first_bundle_becomes_the_live_one_and_stays(settings: Any) -> None:
    client = redis_client(settings)
    assert active_bundle(client, settings) is None
    assert activate_if_none(client, settings, "b1") == "b1"
    assert activate_if_none(client, settings, "b2") == "b1"
    assert active_bundle(client, settings) == "b1"
    assert client.get(pointer_key(settings)) == b"b1"


def test_processes_that_start_together_agree(settings: Any) -> None:
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda i=i: answers.append(activate_if_none(redis_client(settings), settings, f"b{i}"))) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert set(answers) == {active_bundle(redis_client(settings), settings)}


def test_namespaces_have_their_own(settings: Any) -> None:
    client, other = redis_client(settings), msgspec.structs.replace(settings, namespace=settings.namespace + "x")
    activate_if_none(client, settings, "b1")
    assert active_bundle(client, other) is None
    assert pointer_key(msgspec.structs.replace(settings, namespace="")) == "{bundles}:ts:active"


def test_a_move_is_one_step_from_the_bundle_that_was_live(settings: Any) -> None:
    client = redis_client(settings)
    activate_if_none(client, settings, "b1")
    assert not move(client, settings, Switch(5, "activate", "b2", "b1")), "b2 is not registered"
    register(client, settings, "b2", "")
    assert not move(client, settings, Switch(5, "activate", "b2", "b0")), "somebody else moved in between"
    assert move(client, settings, Switch(6, "activate", "b2", "b1", "tags of July", ["coverage"]))
    assert active_bundle(client, settings) == "b2"
    assert [(one.kind, one.bundle, one.before, one.forced, one.refused) for one in history(client, settings)] == [
        ("first", "b1", None, "", []),
        ("activate", "b2", "b1", "tags of July", ["coverage"]),
    ]


def test_a_registration_keeps_its_time_and_its_directory(settings: Any, tmp_path: Any) -> None:
    client = redis_client(settings)
    register(client, settings, "b1", "")
    first = registered(client, settings)["b1"]
    register(client, settings, "b1", str(tmp_path))
    register(client, settings, "b1", "")
    assert registered(client, settings) == {"b1": Registered(first.registered_at, str(tmp_path))}
    unregister(client, settings, "b1")
    assert registered(client, settings) == {}


def test_a_server_that_is_away_is_transient(settings: Any) -> None:
    away = msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(Transient, match="redis"):
        active_bundle(redis_client(away), away)
