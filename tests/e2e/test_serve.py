"""``tagstream serve`` as a process on real servers: the command's answers, an outage of Redis, and a clean end."""

import signal
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from msgspec.structs import replace

from recall.build import open_stores
from recall.note_index import MilvusNoteIndex
from recall.pointer import activate_if_none, name_encoder
from recall.redis_client import redis_client
from schemas.settings import Settings
from tests.contract.test_note_index_outage import Gate
from tests.e2e.running import kill, start, tagstream_json
from tests.recall.world import NOW, World

TOKEN = {"Authorization": "Bearer hush"}


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """Notes and a reader on the servers; the vectors are those of the real tag encoder."""
    from recall.build import tag_encoder

    activate_if_none(redis_client(settings), settings, "b1")
    encoder = tag_encoder(settings)
    name_encoder(redis_client(settings), settings, "b1", encoder.version)
    index = MilvusNoteIndex(settings, "b1", clock=lambda: NOW)
    index.create(encoder.dimension)
    world = World(replace(open_stores(settings), index=index))
    world.encoder = encoder  # type: ignore[assignment]
    world.note("liked", "green tea")
    world.note("match", "green tea", age_h=2)
    world.note("near", "herbal infusion", age_h=3)
    world.act("u", "like", "liked", age_h=0)
    until = time.monotonic() + 30
    while len(index.visible(["liked", "match", "near"])) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    return settings


@pytest.fixture
def served(filled: Settings) -> Iterator[tuple[httpx.Client, Gate, subprocess.Popen[str]]]:
    gate = Gate(filled.redis_url.replace("redis://", "http://"))
    through = replace(filled, redis_url=f"redis://127.0.0.1:{gate.port}/0", serve_token="hush", serve_timeout_s=10.0, serve_port=0)
    process = start(through, "serve")
    assert process.stderr is not None
    url = process.stderr.readline().strip()
    assert url.startswith("http://127.0.0.1:"), url
    with httpx.Client(base_url=url, timeout=20, headers=TOKEN) as client:
        try:
            yield client, gate, process
        finally:
            kill(process)
            gate.shut()


def test_it_answers_as_the_commands_do_survives_redis_and_ends_cleanly(
    filled: Settings, served: tuple[httpx.Client, Gate, subprocess.Popen[str]]
) -> None:
    client, gate, process = served
    assert client.get("/ready").json() == {"ready": True, "bundle": "b1", "down": {}}
    body = {"user_id": "u", "as_of": NOW, "explain": True}
    answer = client.post("/recall", json=body).json()
    assert answer == tagstream_json(filled, "recall", "u", "--as-of", str(NOW), "--explain")
    assert {one["note_id"] for one in answer["results"]} == {"match", "near"}
    assert client.get("/notes/match").json() == tagstream_json(filled, "note", "match")
    assert client.get("/users/u/profile", params={"as_of": NOW}).json() == tagstream_json(filled, "profile", "u", "--as-of", str(NOW))
    assert client.post("/recall", json=body, headers={"Authorization": "Bearer no"}).status_code == 401

    gate.shut()
    while not (degraded := client.post("/recall", json=body).json())["degraded"]:
        time.sleep(0.05)
    assert [one["note_id"] for one in degraded["results"]] == ["liked", "match", "near"]
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200
    gate.open()
    until = time.monotonic() + 30
    while client.post("/recall", json=body).json() != answer:
        assert time.monotonic() < until
        time.sleep(0.1)

    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0 or process.returncode == -signal.SIGTERM
    assert process.stderr is not None and "hush" not in process.stderr.read()


def test_an_open_address_without_a_token_is_refused(settings: Settings) -> None:
    process = start(settings, "serve", "--host", "0.0.0.0", "--port", "0")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "TAGSTREAM_SERVE_TOKEN" in said
