"""What a server binds on all interfaces ends on loopback; everything else about it stays as it was."""

import errno
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local import loopback
from deploy.local.loopback import _wildcard_port, confined

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")

BINDS = """
import json, os, socket, threading
def bound(family, kind, address, v6only=False):
    with socket.socket(family, kind) as held:
        if v6only:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind((address, 0))
        return held.getsockname()[0]
found = {
    "v4": bound(socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0"),
    "v6": bound(socket.AF_INET6, socket.SOCK_STREAM, "::"),
    "v6only": bound(socket.AF_INET6, socket.SOCK_STREAM, "::", True),
    "named": bound(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.2"),
    "datagrams": bound(socket.AF_INET, socket.SOCK_DGRAM, "0.0.0.0"),
    "pid": os.getpid(),
}
thread = threading.Thread(target=lambda: found.update(thread=bound(socket.AF_INET, socket.SOCK_STREAM, "0.0.0.0")))
thread.start(); thread.join()
with socket.socket() as first, socket.socket() as second:
    first.bind(("", 0)); first.listen()
    try:
        second.bind(("", first.getsockname()[1]))
    except OSError as error:
        found["taken"] = error.errno
print(json.dumps(found))
"""


def listening(pid: int) -> set[str]:
    """Local addresses (hex, as the kernel writes them) of the sockets a process listens on."""
    fds = Path(f"/proc/{pid}/fd")
    links = []
    for one in fds.iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            links.append(str(one.readlink()))
    inodes = {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:")}
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


def watchers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_streams_on_all_interfaces_end_on_loopback_and_others_where_they_wanted():
    command = confined([sys.executable, "-c", BINDS])
    assert command is not None, "this Linux cannot hold a server to loopback"
    started = subprocess.Popen(command, stdout=subprocess.PIPE)
    found = json.loads(started.communicate()[0])
    assert started.returncode == 0
    assert found == {
        "v4": "127.0.0.1",
        "v6": "::ffff:127.0.0.1",
        "v6only": "::1",
        "named": "127.0.0.2",
        "datagrams": "0.0.0.0",
        "thread": "127.0.0.1",
        "taken": errno.EADDRINUSE,
        "pid": started.pid,
    }


def test_the_watcher_ends_with_its_server_however_that_dies():
    command = confined([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"])
    assert command is not None
    started = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stdout.readline() == b"up\n"
    (watcher,) = watchers_of(started.pid)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    started.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{watcher}").exists() and Path(f"/proc/{watcher}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the watcher outlives its server"
        time.sleep(0.01)


def test_where_the_filter_cannot_be_had_the_command_is_not_wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "loopback.py"
    broken.write_text("raise SystemExit('no seccomp here')")
    monkeypatch.setattr(loopback, "__file__", str(broken))
    assert confined(["true"]) is None


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (socket.AF_INET, "0.0.0.0", (socket.AF_INET, 80)),
        (socket.AF_INET, "10.0.0.1", None),
        (socket.AF_INET6, "::", (socket.AF_INET6, 80)),
        (socket.AF_INET6, "fe80::1", None),
    ],
)
def test_only_a_wildcard_is_a_wildcard(family: int, address: str, expected: tuple[int, int] | None):
    head = family.to_bytes(2, sys.byteorder) + (80).to_bytes(2, "big") + (b"\0" * 4 if family == socket.AF_INET6 else b"")
    raw = (head + socket.inet_pton(family, address)).ljust(28, b"\0")
    assert _wildcard_port(raw) == expected
    assert _wildcard_port(raw[:6]) is None


def test_every_part_of_the_stack_listens_on_loopback_only(stack):
    for name, part in stack.stack.status().items():
        assert part.pid, f"{name} was not started here"
        addresses = listening(part.pid)
        assert addresses, f"{name} listens nowhere"
        assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}, (name, addresses)
