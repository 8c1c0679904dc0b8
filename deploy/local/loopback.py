"""Holds a server to loopback that has no setting for it: what it would bind on all interfaces is bound on 127.0.0.1 instead.

    python deploy/local/loopback.py COMMAND [ARGUMENT ...]

The command runs under a seccomp filter that hands every ``bind`` to a watcher (seccomp user notification, Linux 5.6, no privilege
needed). The watcher takes a duplicate of the socket, binds it to the loopback address of its family and port, and answers in the
kernel's place; any other ``bind`` goes on unchanged. Nothing lies between the server and its clients. The command keeps the pid it was
started under; the watcher is its child and ends with it. ``loopback.py --check`` tries whether this system can do it.

Runs as a script, with the standard library alone.
"""

import array
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

WILDCARDS = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - looked for, not bound
MACHINES = {  # AUDIT_ARCH, numbers of bind, seccomp, pidfd_open, pidfd_getfd
    "x86_64": (0xC000003E, 49, 317, 434, 438),
    "aarch64": (0xC00000B7, 200, 277, 434, 438),
}
PR_SET_NO_NEW_PRIVS, PR_SET_PTRACER = 38, 0x59616D61
SET_MODE_FILTER, NEW_LISTENER = 1, 8
RET_ALLOW, RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, thread, flags, call, architecture, instruction, arguments
ANSWER = struct.Struct("=QqiI")  # id, value, error, flags
READY = b"r"


def confined(command: list[str]) -> list[str] | None:
    """The command that runs ``command`` held to loopback; None where this system cannot."""
    script = [sys.executable, str(Path(__file__).resolve())]
    tried = subprocess.run([*script, "--check"], capture_output=True, check=False)
    return None if tried.returncode else [*script, *command]


def run(command: list[str]) -> None:
    """Becomes ``command``, with a watcher for its ``bind`` calls.

    Raises:
        OSError: the kernel refuses the filter, or the command cannot be run.
    """
    ours, its = socket.socketpair()
    watcher = os.fork()
    if not watcher:
        ours.close()
        os._exit(_watch(its))
    its.close()
    _libc().prctl(PR_SET_PTRACER, ctypes.c_ulong(watcher), 0, 0, 0)  # where Yama restricts who may look at whom; refused without it
    notifications = _install_filter()
    socket.send_fds(ours, [READY], [notifications])
    os.close(notifications)
    ours.recv(1)
    ours.close()
    os.execvp(command[0], command)  # noqa: S606 - no shell is meant


def _watch(server_end: socket.socket) -> int:
    """The watcher's life: until the last process under the filter is gone."""
    _, received, _, _ = socket.recv_fds(server_end, 1, 1)
    if not received:
        return 1
    server_end.send(READY)
    server_end.close()
    os.setsid()  # a signal to the server's group is not for its watcher, which ends when the server has
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silent, stream)
    poll = select.poll()
    poll.register(received[0], select.POLLIN)
    while True:
        for _, event in poll.poll():
            if event & select.POLLIN:
                _answer(received[0])
            elif event & (select.POLLHUP | select.POLLERR):
                return 0


def _answer(notifications: int) -> None:
    """Takes one notification and answers it; nothing where its thread is gone meanwhile."""
    buffer = array.array("B", bytes(NOTIFICATION.size))
    try:
        fcntl.ioctl(notifications, NOTIF_RECV, buffer, True)
    except OSError:
        return
    identity, thread, _, _, _, _, number, address, length, *_ = NOTIFICATION.unpack(buffer)
    try:
        elsewhere = _bind_on_loopback(thread, number, address, length)
    except OSError as error:
        answer = ANSWER.pack(identity, 0, -(error.errno or errno.EINVAL), 0)
    else:
        answer = ANSWER.pack(identity, 0, 0, 0 if elsewhere else CONTINUE)
    try:
        fcntl.ioctl(notifications, NOTIF_SEND, array.array("B", answer), True)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _bind_on_loopback(thread: int, number: int, address: int, length: int) -> bool:
    """Binds the thread's socket ``number`` to loopback where ``address`` in its memory is a wildcard; False where it is another one."""
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        raw = memory.read(min(length, 128))
    found = _wildcard_port(raw)
    if found is None:
        return False
    family, port = found
    with _socket_of(thread, number) as held:
        if held.type != socket.SOCK_STREAM:
            return False
        if family == socket.AF_INET:
            held.bind(("127.0.0.1", port))
        elif held.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            held.bind(("::1", port))
        else:
            held.bind(("::ffff:127.0.0.1", port))
    return True


def _wildcard_port(raw: bytes) -> tuple[int, int] | None:
    """Family and port of a socket address that means all interfaces; None for any other."""
    if len(raw) < 8:
        return None
    (family,) = struct.unpack_from("=H", raw)
    (port,) = struct.unpack_from("!H", raw, 2)
    at = {socket.AF_INET: 4, socket.AF_INET6: 8}.get(family)
    if at is None:
        return None
    written = raw[at : at + (4 if family == socket.AF_INET else 16)]
    return (family, port) if written == socket.inet_pton(family, WILDCARDS[family]) else None


def _socket_of(thread: int, number: int) -> socket.socket:
    """A duplicate of another process' socket."""
    _, _, _, pidfd_open, pidfd_getfd = MACHINES[platform.machine()]
    status = Path(f"/proc/{thread}/status").read_text()
    process = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Tgid:"))
    holder = _call(pidfd_open, process, 0)
    try:
        return socket.socket(fileno=_call(pidfd_getfd, holder, number, 0))
    finally:
        os.close(holder)


def _install_filter() -> int:
    """Puts this process and all it starts under the filter; returns where the notifications come."""
    architecture, bind, seccomp, _, _ = MACHINES[platform.machine()]
    load, equal, give = 0x20, 0x15, 0x06
    program = [
        (load, 0, 0, 4),
        (equal, 0, 3, architecture),
        (load, 0, 0, 0),
        (equal, 0, 1, bind),
        (give, 0, 0, RET_USER_NOTIF),
        (give, 0, 0, RET_ALLOW),
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    if _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    filter_ = Program(len(program), ctypes.addressof(instructions))
    return _call(seccomp, SET_MODE_FILTER, NEW_LISTENER, ctypes.addressof(filter_))


def _call(number: int, *arguments: int) -> int:
    result = int(_libc().syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


PROBE = "import socket; held = socket.socket(); held.bind(('', 0)); raise SystemExit(held.getsockname()[0] != '127.0.0.1')"


def main(arguments: list[str]) -> None:
    """Runs the command of ``arguments``, or checks that one could be."""
    if not arguments:
        raise SystemExit(f"usage: {sys.argv[0]} COMMAND [ARGUMENT ...] | --check")
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        raise SystemExit(f"loopback: not on {sys.platform} {platform.machine()}")
    run([sys.executable, "-c", PROBE] if arguments == ["--check"] else arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
