"""Apache Kafka as one KRaft node: broker jars by Maven, storage formatted once, everything on loopback."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.local.part import CONTAINERS, Part, Say, fill_cache
from deploy.local.process import Launch, accepts_connections
from schemas.errors import MissingPrerequisite, Transient
from schemas.settings import cache_directory

POM = Path(__file__).parent / "kafka" / "pom.xml"
JAVA = 17
LOGGING = ("defaultLogLevel=warn", "showDateTime=true")
OPTIONS = ("-Xmx512m", "-XX:TieredStopAtLevel=1")
"""A young broker compiles; with the second compiler that took most of one of two cores for minutes. The first alone is enough here."""

# Fast take-over after a crash of the broker or of a consumer; events of 4 MB plus headers fit into one message.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={directory}/log
auto.create.topics.enable=false
message.max.bytes=6291456
replica.fetch.max.bytes=6291456
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=33554432
"""


def prepare(directory: Path, ports: Mapping[str, int], say: Say) -> Launch:
    """Configures the broker under ``directory``.

    Raises:
        MissingPrerequisite: no Java 17, no Maven at the first start.
        Transient: Maven cannot fetch the jars, or the storage cannot be formatted.
    """
    java = find_java()
    jars = fill_cache(cache_directory() / f"kafka-{kafka_version()}", lambda target: _fetch_jars(target, say))
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "server.properties"
    config.write_text(PROPERTIES.format(directory=directory.resolve(), **ports))
    run = [java, *OPTIONS, *(f"-Dorg.slf4j.simpleLogger.{option}" for option in LOGGING), "-cp", f"{jars}/*"]
    if not (directory / "log" / "meta.properties").exists():
        _format_storage(run, config)
    return Launch([*run, "kafka.Kafka", str(config.resolve())], directory)


def url(ports: Mapping[str, int]) -> str:
    """Bootstrap servers."""
    return f"127.0.0.1:{ports['client']}"


def answers(bootstrap: str) -> bool:
    """Whether the broker is registered and serves metadata."""
    host, _, port = bootstrap.rpartition(":")
    if not accepts_connections(host, int(port)):
        return False
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False


def find_java() -> str:
    """Path of a Java that can run the broker.

    Raises:
        MissingPrerequisite: naming the remedy.
    """
    java = shutil.which("java")
    remedy = f"install it (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) {CONTAINERS}"
    if not java:
        raise MissingPrerequisite(f"Kafka needs Java {JAVA} or newer and there is no `java` on the PATH: {remedy}")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', shown)
    if not found or int(found[1]) < JAVA:
        raise MissingPrerequisite(
            f"Kafka needs Java {JAVA} or newer and `java` on the PATH is {found[1] if found else 'not a Java'}: {remedy}"
        )
    return java


def kafka_version() -> str:
    """The broker's version, as the pom says."""
    found = re.search(r"<kafka\.version>([\d.]+)</kafka\.version>", POM.read_text())
    assert found
    return found[1]


def _fetch_jars(target: Path, say: Say) -> None:
    maven = shutil.which("mvn")
    if not maven:
        raise MissingPrerequisite(
            f"the first start fetches Kafka's jars with Maven and there is no `mvn` on the PATH: "
            f"install it (Debian, Ubuntu: apt-get install maven) {CONTAINERS}"
        )
    say("fetching the broker's jars with Maven, once (about 45 MB)")
    command = [maven, "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={target}", "-DincludeScope=runtime"]
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, cwd=target)
    if ran.returncode:
        reason = next((line for line in (ran.stdout + ran.stderr).splitlines() if "ERROR" in line), f"exit status {ran.returncode}")
        raise Transient("kafka", f"Maven could not fetch the broker's jars ({reason.strip()})")


def _format_storage(run: list[str], config: Path) -> None:
    tool = [*run, "kafka.tools.StorageTool"]
    made = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=False)
    command = [*tool, "format", "-t", made.stdout.strip(), "-c", str(config.resolve())]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Transient("kafka", f"its storage cannot be formatted: {(made.stderr + ran.stderr).strip().splitlines()[-1:]}")


KAFKA = Part("kafka", ("client", "controller"), prepare, url, answers)
