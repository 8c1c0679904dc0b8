"""Notes whose media or endpoint are away at first, on the real servers: recallable by what there is, better once the rest is back."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from recall.notes import RedisNotes
from recall.pointer import active_bundle
from recall.redis_client import redis_client
from schemas.codec import encode
from schemas.events import NoteEvent
from schemas.keys import Keys
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.topics import NOTE_EVENTS, all_topics
from streams.publisher import KafkaPublisher
from streams.topics_admin import create_topics
from tests.consumers.media_server import png, serving
from tests.e2e.running import kill, start
from tests.e2e.test_redrive import ask_json, running
from tests.models.chat_server import chat_server

ROOT = Path(__file__).parents[2]
SHOWN = [{"text": "gum sole", "dimension": "outsole_traction", "source": "image"}]
TOLD = [{"text": "crimson mesh", "dimension": "upper_material", "source": "title"}]


def answer(body: dict[str, Any]) -> str:
    """The model sees a gum sole in any picture, and reads crimson mesh."""
    return json.dumps([*(SHOWN if "image_url" in json.dumps(body) else []), *TOLD])


@pytest.fixture
def house(settings: Settings) -> Settings:
    create_topics(settings, all_topics(settings.namespace))
    return replace(
        settings,
        tagger="endpoint",
        endpoint_model="fake",
        endpoint_attempts=1,
        endpoint_failures=2,
        endpoint_cool_down_s=0.3,
        endpoint_upgrade_s=0.5,
        media_networks="127.0.0.0/8",
        media_upgrade_minutes="",
    )


def note(number: int, at: int | None = None, **fields: Any) -> NoteEvent:
    now = at or time.time_ns() // 1_000_000
    given = {"type": "note.published", "title": "Crimson mesh runners", "category": "shoes"} | fields
    return NoteEvent(note_id=f"n{number}", author_id="a", occurred_at=now, published_at=now, **given)


def publish(settings: Settings, *notes: NoteEvent) -> None:
    publisher = KafkaPublisher(settings)
    for one in notes:
        publisher.publish(NOTE_EVENTS.within(settings.namespace).name, one.note_id.encode(), encode(one), [])
    publisher.flush()
    publisher.close()


def records(settings: Settings, *ids: str) -> dict[str, NoteRecord]:
    client = redis_client(settings)
    bundle = active_bundle(client, settings)
    return dict(RedisNotes(client, Keys(settings.namespace, bundle)).get(list(ids))) if bundle else {}


def until(what: str, holds: Any, within_s: float = 90.0) -> None:
    """Waits until something holds."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(0.2)


@contextmanager
def consuming(settings: Settings, job: str) -> Iterator[None]:
    """A real job in a process of its own, killed at the end of the block."""
    process = start(settings, "consume", job)
    try:
        yield
    finally:
        print(kill(process))


def test_a_medium_that_is_away_costs_its_tags_and_a_redrive_brings_them(house: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note is recallable meanwhile; a redrive too early leaves another letter; a note that was deleted meanwhile stays deleted."""
    away = [True]

    def page_shoe(page: Any) -> None:
        page.body(503 if away[0] else 200, png())

    monkeypatch.setattr("tests.consumers.media_server.Pages.page_shoe", page_shoe, raising=False)
    with serving("127.0.0.1") as media, chat_server(answer) as chat:
        chosen = replace(house, endpoint_url=chat.url, media_hosts=f"127.0.0.1:{media.server_port}")
        url = f"{media.url}/shoe"
        publish(chosen, note(1, images=[url]), note(2, images=[url]))
        with running(chosen, "tag-notes", "index-notes"):
            until("both notes are recallable", lambda: _recallable(chosen, "n1", "n2"))
            assert [tag["text"] for tag in ask_json(chosen, "note", "n1")["tags"]] == ["crimson mesh"]
            (first,) = ask_json(chosen, "dead-letters", "list", "--reason", "degraded", "--match", "note_id=n1")["dead_letters"]
            assert first["detail"].startswith("image: refused, http_status (images[0]") and first["stage"] == "tag-notes"
            (early,) = _redrive(chosen, first["id"], code=1)
            assert early["outcome"] == "failed_again" and early["failed_as"][0]["attempts"] == 2
            publish(chosen, note(2, type="note.deleted"))
            until("it is deleted", lambda: records(chosen, "n2")["n2"].deleted)
            away[0] = False
            told = _redrive(chosen, "--reason", "degraded", "--yes")
            assert [one["outcome"] for one in told] == ["handled", "handled"]
            until("the upgrade is there", lambda: "gum sole" in records(chosen, "n1")["n1"].texts)
        found = records(chosen, "n1", "n2")
        assert (found["n1"].revision, found["n1"].degraded, found["n2"].deleted) == (2, [], True)
        assert ask_json(chosen, "dead-letters", "list")["dead_letters"] == []
        evidence = {tag["text"]: tag["evidence"] for tag in ask_json(chosen, "note", "n1")["tags"]}
        assert evidence["gum sole"] == [{"source": "image", "position": 0}]


def test_a_medium_that_comes_back_brings_its_tags_without_anybody(house: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    away = [True]

    def page_shoe(page: Any) -> None:
        page.body(503 if away[0] else 200, png())

    monkeypatch.setattr("tests.consumers.media_server.Pages.page_shoe", page_shoe, raising=False)
    with serving("127.0.0.1") as media, chat_server(answer) as chat:
        chosen = replace(house, endpoint_url=chat.url, media_hosts=f"127.0.0.1:{media.server_port}", media_upgrade_minutes="0.05," * 9)
        publish(chosen, note(1, images=[f"{media.url}/shoe"]))
        with running(chosen, "tag-notes", "index-notes"):
            until("it is recallable by its text", lambda: records(chosen, "n1") and records(chosen, "n1")["n1"].degraded)
            away[0] = False
            until("the picture's tag is there", lambda: "gum sole" in records(chosen, "n1")["n1"].texts)
        assert records(chosen, "n1")["n1"].degraded == []
    assert ask_json(chosen, "dead-letters", "list")["dead_letters"] == []


def _recallable(settings: Settings, *ids: str) -> bool:
    return all(ask_json(settings, "note", one)["state"] == "recallable" for one in ids)


def _redrive(settings: Settings, *options: str, code: int = 0) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = ask_json(settings, "dead-letters", "redrive", *options, "--wait", "60", code=code)["letters"]
    return told


@contextmanager
def serving_model(port: int, module: str = "tests.models.chat_server", *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """An endpoint in a process of its own, that can be killed."""
    process = subprocess.Popen([sys.executable, "-m", module, str(port), *arguments], cwd=ROOT, start_new_session=True)
    try:
        until("the endpoint listens", lambda: _listens(port))
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_an_endpoint_killed_in_the_middle_loses_nothing_and_upgrades_later(house: Settings) -> None:
    """Endpoint and consumer are both killed while notes flow; every note is tagged at once, and by the model in the end."""
    port = free_port()
    chosen = replace(house, endpoint_url=f"http://127.0.0.1:{port}/v1", tag_notes_batch=4)
    ids = [f"n{number}" for number in range(60)]
    with running(chosen, "index-notes"), contextlib.ExitStack() as second:
        with serving_model(port) as endpoint, consuming(chosen, "tag-notes"):
            publish(chosen, *(note(number) for number in range(20)))
            until("the model tags", lambda: len(records(chosen, *ids)) >= 8)
            endpoint.kill()
            publish(chosen, *(note(number) for number in range(20, 60)))
            until("some are tagged without it", lambda: len(records(chosen, *ids)) > 24)
        second.enter_context(consuming(chosen, "tag-notes"))
        until("all are tagged", lambda: len(records(chosen, *ids)) == 60)
        held = records(chosen, *ids)
        assert 8 <= _by_model(held) < 40
        assert {line for one in held.values() for line in one.degraded} == {"tagger: endpoint unavailable"}
        with serving_model(port):
            until("all have the model's tags", lambda: _by_model(records(chosen, *ids)) == 60)
    assert ask_json(chosen, "dead-letters", "list")["dead_letters"] == []


def _by_model(held: dict[str, NoteRecord]) -> int:
    return sum(not one.degraded and one.texts == ["crimson mesh"] for one in held.values())
