"""Milvus standalone from the PyPI package ``milvus``, run without that package's wrapper.

The wrapper fixes etcd's ports, the metrics port and the pid file, so only one server fits on a machine, it extracts 250 MB for every data
directory, and a killed wrapper leaves its child behind. Here the binary is extracted once per user and gets a configuration of its own:
every port free, etcd configured by file, an alias for the pid file.
This release binds all interfaces whatever its settings say (``ip`` is only what it announces), without authentication:
``loopback.py`` holds it to loopback, and where that cannot be done it is said.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import lzma
import os
import re
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.local.loopback import confined
from deploy.local.part import CONTAINERS, Part, Say, fill_cache
from deploy.local.process import Launch
from schemas.errors import MissingPrerequisite
from schemas.settings import cache_directory

ROLES = ("rootCoord", "dataCoord", "queryCoord", "queryNode", "indexNode", "dataNode")
PORTS = ("client", "internal", "metrics", "etcd_client", "etcd_peer", *ROLES)
TIME_TICK_MS = 50  # writes become searchable under Bounded reads within one tick; the default is 200
INTERIM_PROBES = 128  # all lists of the interim index: with the default 16, filtered searches over fresh rows lose half their hits
SESSION_TTL_S = 10  # how long after a kill the old server's sessions keep the new one waiting; the default is 30
GRACEFUL_STOP_S = 5


def prepare(directory: Path, ports: Mapping[str, int], say: Say) -> Launch:
    """Configures the server under ``directory``.

    Raises:
        MissingPrerequisite: the package is not installed or has no server for this system.
    """
    packaged = _packaged_data()
    version = importlib.metadata.version("milvus")
    binaries = fill_cache(cache_directory() / f"milvus-{version}", lambda target: _extract(packaged / "bin", target, say))
    home = directory.resolve()
    for part in ("configs", "logs", "etcd", "rocksmq", "storage"):
        (home / part).mkdir(parents=True, exist_ok=True)
    (home / "configs" / "milvus.yaml").write_text(yaml.safe_dump(_settings(packaged / "config.yaml.template", home, ports)))
    (home / "configs" / "etcd.yaml").write_text(yaml.safe_dump(_etcd(ports)))
    (home / "configs" / "glog.conf").write_bytes((packaged / "glog.conf").read_bytes())
    environ = {
        "DEPLOY_MODE": "STANDALONE",
        "HOME": str(home),
        "LD_LIBRARY_PATH": str(binaries),
        "DYLD_LIBRARY_PATH": str(binaries),
        "METRICS_PORT": str(ports["metrics"]),
        "MILVUSCONF": str(home / "configs"),
        "PATH": os.defpath,
    }
    alias = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    command = [str(binaries / "milvus"), "run", "standalone", "-alias", alias]
    held = confined(command)
    if held is None:
        say("this system cannot hold it to loopback (that needs Linux 5.6): it listens on all interfaces, keep a firewall in front")
    return Launch(held or command, home, environ)


def url(ports: Mapping[str, int]) -> str:
    """Milvus URI."""
    return f"http://127.0.0.1:{ports['client']}"


def answers(uri: str) -> bool:
    """Whether the server lists its collections, through its REST face: proxy and coordinators are up."""
    return _ask(f"{uri}/v1/vector/collections") is not None


def has_recovered(uri: str) -> bool:
    """Whether every collection that was loaded before the restart can be searched again; after a kill that takes ``SESSION_TTL_S``."""
    collections = _ask(f"{uri}/v1/vector/collections")
    return collections is not None and not any(_is_loading(uri, name) for name in collections)


def _is_loading(uri: str, collection: str) -> bool:
    described = _ask(f"{uri}/v1/vector/collections/describe?collectionName={collection}")
    return isinstance(described, dict) and described.get("load") == "LoadStateLoading"


def _ask(address: str) -> Any:
    """What the server's REST face answers; None where it does not or refuses."""
    try:
        with urllib.request.urlopen(address, timeout=2.0) as reply:  # noqa: S310 - http by construction
            answer = json.load(reply)
    except (OSError, ValueError):
        return None
    return (answer.get("data") or []) if answer.get("code") == 200 else None


def _packaged_data() -> Path:
    package = importlib.util.find_spec("milvus")
    data = Path(package.origin).parent / "data" if package and package.origin else Path()
    if not (data / "bin" / "milvus.lzma").exists():
        raise MissingPrerequisite(
            f"there is no Milvus server for this system ({sys.platform}): pip install milvus on Linux or macOS, {CONTAINERS}"
        )
    return data


def _extract(packed: Path, target: Path, say: Say) -> None:
    say("unpacking the server, once (250 MB)")
    for source in packed.glob("*.lzma"):
        binary = target / source.stem
        binary.write_bytes(lzma.decompress(source.read_bytes()))
        binary.chmod(0o755)


def _settings(template: Path, home: Path, ports: Mapping[str, int]) -> dict[str, Any]:
    """The package's own configuration with our paths, ports and the few settings that differ on purpose."""
    settings: dict[str, Any] = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "0", template.read_text()))
    settings["etcd"] |= {
        "endpoints": f"127.0.0.1:{ports['etcd_client']}",
        "config": {"path": str(home / "configs" / "etcd.yaml")},
        "data": {"dir": str(home / "etcd")},
        "log": {"level": "warn", "path": str(home / "logs" / "etcd.log")},
    }
    settings["localStorage"]["path"] = str(home / "storage")
    settings["rocksmq"]["path"] = str(home / "rocksmq")
    settings["log"] |= {"level": "warn"}
    settings["log"]["file"]["rootPath"] = ""
    for role in ROLES:
        settings[role] |= {"ip": "127.0.0.1", "port": ports[role]}
    settings["proxy"] |= {"ip": "127.0.0.1", "port": ports["client"], "internalPort": ports["internal"], "timeTickInterval": TIME_TICK_MS}
    settings["queryNode"]["segcore"]["interimIndex"]["nprobe"] = INTERIM_PROBES
    settings["tls"] = {}
    settings["common"]["security"] = {"authorizationEnabled": False, "tlsMode": 0}
    settings["common"]["session"]["ttl"] = SESSION_TTL_S
    settings["common"]["gracefulStopTimeout"] = GRACEFUL_STOP_S
    return settings


def _etcd(ports: Mapping[str, int]) -> dict[str, str]:
    client, peer = (f"http://127.0.0.1:{ports[name]}" for name in ("etcd_client", "etcd_peer"))
    return {
        "name": "default",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "log-level": "warn",
    }


MILVUS = Part("milvus", PORTS, prepare, url, answers, has_recovered, stop_grace_s=GRACEFUL_STOP_S + 3.0)
