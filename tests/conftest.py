"""Real servers for every test that asks: one stack a run, a namespace of its own for each test."""

import json
import os
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import msgspec
import pytest
import redis

from deploy.local.process import Launch, Process, choose_ports, spawn, stop
from deploy.local.redis_server import REDIS
from deploy.local.stack import Stack
from schemas.settings import Settings

# No test fails for the time that it takes: processes of the suite share the cores.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


class RunningStack(NamedTuple):
    """The session's servers. ``settings`` has their URLs and no namespace; ``process_env`` hands them to a subprocess."""

    settings: Settings
    stack: Stack

    def process_env(self, settings: Settings | None = None) -> dict[str, str]:
        chosen = settings or self.settings
        names = ("kafka_bootstrap_servers", "redis_url", "milvus_uri", "namespace", "data")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TAGSTREAM_")}
        return inherited | {f"TAGSTREAM_{name.upper()}": str(getattr(chosen, name)) for name in names}


SHARED = pytest.StashKey[Path]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a process of pytest-xdist where the servers are that all of them share; the first that needs them starts them."""
    directory = node.config.stash.setdefault(SHARED, node.config._tmp_path_factory.getbasetemp() / "stack")
    node.workerinput["stack"] = str(directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what the processes shared, once all of them have ended."""
    if SHARED in config.stash:
        Stack(config.stash[SHARED]).down()


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Kafka, Redis and Milvus: started for the run, or those under the directory ``TAGSTREAM_TEST_STACK``, which keep running."""
    given, shared = os.environ.get("TAGSTREAM_TEST_STACK"), getattr(request.config, "workerinput", {}).get("stack")
    servers = Stack(Path(given or shared or tmp_path_factory.mktemp("stack")))
    try:
        if not given:
            servers.up()
        states = {name: part.state for name, part in servers.status().items()}
        assert set(states.values()) == {"running"}, f"the stack under {servers.data} does not run: {states}"
        yield RunningStack(Settings(data=str(servers.data), **servers.urls()), servers)
    finally:
        if not (given or shared):
            servers.down()


@pytest.fixture
def settings(stack: RunningStack) -> Iterator[Settings]:
    """Settings of the running stack under a fresh namespace, dropped afterwards. A replay does not wait for the suite's other processes."""
    fresh = msgspec.structs.replace(stack.settings, namespace=f"t{uuid.uuid4().hex[:8]}", replay_idle=False)
    yield fresh
    drop_namespace(fresh)


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis Cluster of one node, so that a command over two slots fails as it would on many."""
    directory = tmp_path_factory.mktemp("redis-cluster")
    ports, node = _start_cluster_node(directory)
    try:
        with redis.Redis.from_url(REDIS.url(ports), decode_responses=True) as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(16384))
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert node.alive, (directory / "redis.log").read_text()
                time.sleep(0.05)
        yield f"{REDIS.url(ports)}?cluster=true"
    finally:
        stop(node, 2.0)


def _start_cluster_node(directory: Path, attempts: int = 5) -> tuple[dict[str, int], Process]:
    """A node that answers. Its second port is 10,000 above its first, where outgoing connections may be: other ports are tried then."""
    for _ in range(attempts):
        ports = choose_ports(REDIS.port_names, {})
        launch = REDIS.prepare(directory, ports, lambda _text: None)
        node = spawn(Launch([*launch.command, "--cluster-enabled", "yes"], directory), directory / "redis.log")
        while node.alive:
            if REDIS.answers(REDIS.url(ports)):
                return ports, node
            time.sleep(0.05)
    raise AssertionError((directory / "redis.log").read_text())


def drop_namespace(settings: Settings) -> None:
    """Deletes what a namespace left on the servers that still answer."""
    with redis.Redis.from_url(settings.redis_url) as client:
        keys = list(client.scan_iter(match=f"*:{settings.namespace}:*", count=10_000))
        if keys:
            client.unlink(*keys)
    _drop_topics(settings)
    _drop_collections(settings)


def _drop_topics(settings: Settings) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers, "log_level": 0})
    topics = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{settings.namespace}.")]
    for outcome in (admin.delete_topics(topics) if topics else {}).values():
        try:
            outcome.result(timeout=10)
        except KafkaException as error:
            if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
                raise


def _drop_collections(settings: Settings) -> None:
    with urllib.request.urlopen(f"{settings.milvus_uri}/v1/vector/collections", timeout=10) as reply:
        found = [name for name in json.load(reply)["data"] or [] if name.startswith(f"{settings.namespace}_")]
    if not found:
        return
    from pymilvus import MilvusClient

    client = MilvusClient(settings.milvus_uri, timeout=10)
    try:
        for collection in found:
            for alias in client.list_aliases(collection, timeout=10)["aliases"]:
                client.drop_alias(alias, timeout=10)
            client.drop_collection(collection, timeout=10)
    finally:
        client.close()
