"""What a machine without Java or Maven is told, and what the pom fixes."""

from pathlib import Path

import pytest
import yaml

from deploy.local.kafka_broker import POM, PROPERTIES, find_java, kafka_version, prepare
from deploy.local.part import fill_cache
from schemas.errors import MissingPrerequisite, Transient
from schemas.events import EVENT_MAX_BYTES
from schemas.topics import all_topics


def put_on_path(monkeypatch: pytest.MonkeyPatch, directory: Path, **scripts: str) -> None:
    directory.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


def test_without_java(monkeypatch, tmp_path):
    put_on_path(monkeypatch, tmp_path / "bin")
    with pytest.raises(MissingPrerequisite) as raised:
        prepare(tmp_path / "kafka", {"client": 1, "controller": 2}, lambda _text: None)
    said = str(raised.value)
    assert "\n" not in said
    assert "apt-get install openjdk-17-jre-headless" in said
    assert "docker compose -f deploy/compose.yaml up" in said
    assert not (tmp_path / "kafka").exists()


def test_with_an_old_java(monkeypatch, tmp_path):
    put_on_path(monkeypatch, tmp_path / "bin", java="echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(MissingPrerequisite, match="needs Java 17 or newer and `java` on the PATH is 11"):
        find_java()


@pytest.mark.parametrize("banner", ['openjdk version "17.0.15" 2025-04-15', 'java version "21" 2023-09-19 LTS'])
def test_with_a_new_java(monkeypatch, tmp_path, banner):
    put_on_path(monkeypatch, tmp_path / "bin", java=f"echo '{banner}' >&2")
    assert find_java() == str(tmp_path / "bin" / "java")


def test_without_maven_at_the_first_start(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    put_on_path(monkeypatch, tmp_path / "bin", java="echo 'openjdk version \"17\"' >&2")
    with pytest.raises(MissingPrerequisite, match=r"no `mvn` on the PATH: install it .*apt-get install maven.* docker compose"):
        prepare(tmp_path / "kafka", {"client": 1, "controller": 2}, lambda _text: None)


def test_a_failed_download_leaves_no_half_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    put_on_path(monkeypatch, tmp_path / "bin", java="echo 'openjdk version \"17\"' >&2", mvn="echo '[ERROR] unknown host'; exit 1")
    with pytest.raises(Transient, match=r"could not fetch the broker's jars \(\[ERROR\] unknown host\)"):
        prepare(tmp_path / "kafka", {"client": 1, "controller": 2}, lambda _text: None)
    assert [path.suffix for path in (tmp_path / "cache" / "tagstream").iterdir()] == [".lock"]


def test_the_cache_is_filled_once(tmp_path):
    filled: list[Path] = []

    def fill(target: Path) -> None:
        filled.append(target)
        (target / "a.jar").write_text("jar")

    assert [(fill_cache(tmp_path / "cached", fill) / "a.jar").read_text() for _ in range(2)] == ["jar", "jar"]
    assert len(filled) == 1


def test_containers_run_the_same_release_with_the_same_limits():
    kafka = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "compose.yaml").read_text())["services"]["kafka"]
    assert kafka["image"] == f"apache/kafka:{kafka_version()}"
    local = dict(line.split("=", 1) for line in PROPERTIES.splitlines())
    shared = {name: value for name, value in kafka["environment"].items() if name.removeprefix("KAFKA_").lower().replace("_", ".") in local}
    differing = {name for name, value in shared.items() if local[name.removeprefix("KAFKA_").lower().replace("_", ".")] != value}
    addresses = {"KAFKA_CONTROLLER_QUORUM_VOTERS", "KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS", "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"}
    assert differing == addresses | {"KAFKA_LOG_DIRS"}
    assert {"KAFKA_MESSAGE_MAX_BYTES", "KAFKA_AUTO_CREATE_TOPICS_ENABLE", "KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS"} <= set(shared)


def test_the_broker_takes_the_largest_event_and_its_dead_letter():
    limit = int(dict(line.split("=", 1) for line in PROPERTIES.splitlines())["message.max.bytes"])
    assert limit >= max(topic.max_message_bytes for topic in all_topics()) > EVENT_MAX_BYTES
    assert POM.exists()
