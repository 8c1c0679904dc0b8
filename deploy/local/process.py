"""Detached server processes: started, recognised again by pid and start time, stopped."""

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

PORT_S = 1.0
LOWEST_PORT, HIGHEST_PORT = 20_000, 32_000  # below Linux' range for outgoing connections, which could take a remembered port


class Launch(Struct, frozen=True):
    """What to run. ``environ`` None passes the caller's environment on."""

    command: list[str]
    directory: Path
    environ: Mapping[str, str] | None = None


class Process(Struct, frozen=True):
    """A started process. ``born`` is the kernel's start time: a recycled pid has another one."""

    pid: int
    born: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _born(self.pid) == self.born


def spawn(launch: Launch, log: Path) -> Process:
    """Starts a process that outlives its starter; stdout and stderr are appended to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            launch.command,
            cwd=launch.directory,
            env=launch.environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    process = Process(child.pid, _born(child.pid) or "gone")
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()  # no zombie where the starter outlives it
    return process


def stop(process: Process, grace_s: float) -> None:
    """SIGTERM, and SIGKILL after ``grace_s`` seconds; nothing where the process is gone or its pid belongs to another one."""
    for sign, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 30.0)):
        if not process.alive:
            return
        try:
            os.kill(process.pid, sign)
        except ProcessLookupError:
            return
        if _wait_for_end(process, patience_s):
            return


def _wait_for_end(process: Process, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def read_process(part: Mapping[str, Any]) -> Process | None:
    """The process of one part's record in the stack file; None where none was started."""
    return Process(part["pid"], part["born"]) if part.get("pid") and part.get("born") else None


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the port, on any interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _free_soon(port: int) -> bool:
    """A killed process counts as gone when its first thread is; its port is free when the last one is."""
    until = time.monotonic() + PORT_S
    while not port_is_free(port):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def choose_ports(names: tuple[str, ...], remembered: Mapping[str, int]) -> dict[str, int]:
    """A free port for each name; the remembered ones, so that recorded addresses stay valid, unless one was taken meanwhile."""
    if set(remembered) == set(names) and all(_free_soon(port) for port in remembered.values()):
        return dict(remembered)
    chosen: set[int] = set()
    while len(chosen) < len(names):
        port = random.randint(LOWEST_PORT, HIGHEST_PORT)  # noqa: S311 - not a secret
        if port_is_free(port):
            chosen.add(port)
    return dict(zip(names, sorted(chosen), strict=True))


def accepts_connections(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def _born(pid: int) -> str | None:
    """Start time of a living process: clock ticks since boot on Linux, a date elsewhere; None where it is gone or a zombie."""
    stat = Path("/proc") / str(pid) / "stat"
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.split(
        maxsplit=1
    )
    return None if len(found) < 2 or found[0].startswith("Z") else found[1].strip()
