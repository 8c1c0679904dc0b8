"""What the stack needs to know of one server."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from deploy.local.process import Launch

CONTAINERS = "or start the stack in containers: docker compose -f deploy/compose.yaml up"
Say = Callable[[str], None]


class Part(Struct, frozen=True):
    """One server of the local stack.

    ``prepare(directory, ports, say)`` fetches what the server needs, writes its configuration under ``directory`` and returns what to run;
    it raises ``MissingPrerequisite``. ``answers(url)`` is one real call that returns within about two seconds; ``has_recovered(url)``
    asks, after a start, whether what was stored before is served again.
    """

    name: str
    port_names: tuple[str, ...]
    prepare: Callable[[Path, Mapping[str, int], Say], Launch]
    url: Callable[[Mapping[str, int]], str]
    answers: Callable[[str], bool]
    has_recovered: Callable[[str], bool] = lambda _url: True
    ready_within_s: float = 120.0
    stop_grace_s: float = 15.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock between processes; freed by the kernel when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def fill_cache(target: Path, fill: Callable[[Path], None]) -> Path:
    """Makes a cached directory once: ``fill`` works in a temporary neighbour that is renamed when complete, one process at a time."""
    if target.is_dir():
        return target
    with locked(target.with_name(target.name + ".lock")):
        if not target.is_dir():
            unfinished = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=target.parent))
            try:
                fill(unfinished)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return target
