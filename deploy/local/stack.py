"""The local stack: Kafka, Redis and Milvus as detached processes of one data directory, recorded in ``stack.json``."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from deploy.local.kafka_broker import KAFKA
from deploy.local.milvus_server import MILVUS
from deploy.local.part import Part, locked
from deploy.local.process import Process, accepts_connections, choose_ports, read_process, spawn, stop
from deploy.local.redis_server import REDIS
from schemas.errors import Transient
from schemas.settings import STACK_FILE, STACK_SETTINGS, redacted

PARTS = (KAFKA, REDIS, MILVUS)
Progress = Callable[[str, str], None]


class PartStatus(Struct, frozen=True):
    """One part as ``--json`` shows it.

    ``state``: ``stopped``, ``running``, ``starting`` (the process lives, the server does not answer), ``crashed`` (it should run and
    does not) or ``configured`` (a setting names a server that is not ours; no pid).
    """

    url: str | None
    state: str
    pid: int | None


class Stack:
    """The stack of one data directory.

    Args:
        data: directory of the servers' data, logs and of ``stack.json``.
        given: server URLs by setting name (``schemas.settings.given_urls``) to use instead of starting that part.
        parts: the parts to run.
    """

    def __init__(self, data: Path, given: Mapping[str, str] | None = None, parts: Iterable[Part] = PARTS) -> None:
        self.data = data.absolute()
        self.parts = tuple(parts)
        self._given = dict(given or {})
        self._writing = threading.Lock()
        self._abandoned = threading.Event()

    def up(self, progress: Progress = lambda _part, _text: None) -> dict[str, PartStatus]:
        """Starts what does not run, all parts at once, and returns when every part answers. Running parts are kept.

        Raises:
            MissingPrerequisite: the machine lacks something.
            Transient: a server stopped or did not answer in time; the message names its log. The other parts are left running.
        """
        with locked(self.data / "stack.lock"), ThreadPoolExecutor(len(self.parts)) as pool:
            jobs = [pool.submit(self._up, part, progress) for part in self.parts]
            try:
                for job in jobs:
                    job.result()
            except BaseException as error:
                if not isinstance(error, Exception):
                    self._abandoned.set()
                raise
        return self.status()

    def down(self, progress: Progress = lambda _part, _text: None) -> dict[str, PartStatus]:
        """Stops what ``up`` started here, data kept; nothing where nothing runs."""
        if not (self.data / STACK_FILE).exists():
            return self.status()
        with locked(self.data / "stack.lock"), ThreadPoolExecutor(len(self.parts)) as pool:
            for job in [pool.submit(self._down, part, progress) for part in self.parts]:
                job.result()
        return self.status()

    def status(self) -> dict[str, PartStatus]:
        """Every part's state now; starts and changes nothing."""
        record = self._read()
        return {part.name: self._status(part, record.get(part.name, {})) for part in self.parts}

    def urls(self) -> dict[str, str]:
        """Server URLs by setting name: those of the parts that ``up`` started, and the configured ones."""
        found = {STACK_SETTINGS[name]: part.url for name, part in self.status().items()}
        return {name: url for name, url in found.items() if url}

    def _status(self, part: Part, record: Mapping[str, Any]) -> PartStatus:
        elsewhere = self._configured(part, record)
        if elsewhere:
            return PartStatus(elsewhere, "configured", None)
        process = read_process(record)
        if not process:
            return PartStatus(None, "stopped", None)
        if not process.alive:
            return PartStatus(record.get("url"), "crashed", None)
        return PartStatus(record["url"], "running" if part.answers(record["url"]) else "starting", process.pid)

    def _configured(self, part: Part, record: Mapping[str, Any]) -> str | None:
        """The URL that settings give for a part, unless it is the one this very stack serves (``dev env`` was evaluated)."""
        url = self._given.get(STACK_SETTINGS[part.name])
        ours = part.url(record["ports"]) if record.get("ports") else None
        return None if url == ours else url

    def _up(self, part: Part, progress: Progress) -> None:
        record = self._read().get(part.name, {})
        elsewhere = self._configured(part, record)
        if elsewhere:
            _check_connection(part.name, elsewhere)
            progress(part.name, f"configured, used at {redacted(elsewhere)}")
            return
        process = read_process(record)
        if process and process.alive:
            url = record["url"]
            if part.answers(url):
                progress(part.name, f"already running at {url}")
                return
        else:
            if process:
                progress(part.name, "had crashed")
            ports = choose_ports(part.port_names, record.get("ports", {}))
            launch = part.prepare(self.data / part.name, ports, lambda text: progress(part.name, text))
            if self._abandoned.is_set():
                return
            progress(part.name, "starting")
            url = part.url(ports)
            process = spawn(launch, self._log(part))
            self._write(part, {"url": url, "pid": process.pid, "born": process.born, "ports": ports, "state": "started"})
        began = time.monotonic()
        self._wait_until_ready(part, process, url)
        progress(part.name, f"ready at {url} ({time.monotonic() - began:.1f} s)")

    def _wait_until_ready(self, part: Part, process: Process, url: str) -> None:
        deadline = time.monotonic() + part.ready_within_s
        while not self._abandoned.is_set():
            if part.answers(url) and part.has_recovered(url):
                return
            if not process.alive:
                raise Transient(part.name, f"it stopped while starting; see {self._log(part)}{_last_line(self._log(part))}")
            if time.monotonic() > deadline:
                stop(process, part.stop_grace_s)
                raise Transient(part.name, f"it did not answer within {part.ready_within_s:.0f} s and was stopped; see {self._log(part)}")
            time.sleep(0.1)

    def _down(self, part: Part, progress: Progress) -> None:
        record = self._read().get(part.name, {})
        process = read_process(record)
        if process and process.alive:
            progress(part.name, "stopping")
            stop(process, part.stop_grace_s)
            progress(part.name, "stopped")
        if process:
            self._write(part, {"url": None, "pid": None, "born": None, "ports": record.get("ports", {}), "state": "stopped"})

    def _log(self, part: Part) -> Path:
        return self.data / "logs" / f"{part.name}.log"

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads((self.data / STACK_FILE).read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise Transient(
                "local stack", f"{self.data / STACK_FILE} is not JSON; remove it after stopping the servers it was for"
            ) from None
        return found if isinstance(found, dict) else {}

    def _write(self, part: Part, record: Mapping[str, Any]) -> None:
        with self._writing:
            path = self.data / STACK_FILE
            unfinished = path.with_suffix(".tmp")
            unfinished.write_text(json.dumps(self._read() | {part.name: record}, indent=2) + "\n")
            unfinished.replace(path)


def _check_connection(name: str, url: str) -> None:
    """Raises ``Transient`` when nothing listens at a configured address; credentials are the clients' business."""
    first = url.split(",", maxsplit=1)[0]
    parts = urlsplit(first if "://" in first else f"//{first}")
    port = parts.port or {"redis": 6379, "kafka": 9092, "milvus": 19530}[name]
    if parts.hostname and not accepts_connections(parts.hostname, port, 3.0):
        raise Transient(name, f"nothing listens at {redacted(first)}, which {STACK_SETTINGS[name]} names; start it or remove that setting")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace")[-4000:].splitlines() if line.strip()]
    return f" ({lines[-1].strip()[:200]})" if lines else ""
