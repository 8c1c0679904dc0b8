"""``manifest.json`` of a run: what was done, with which versions, when, with which outcome and at what cost."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from offline.chat.prices import Spent
from offline.whole_file import write_json

FILE = "manifest.json"
State = Literal["running", "finished", "failed", "interrupted"]


class RunManifest(Struct, kw_only=True):
    """``options`` and ``versions`` (of prompt, handbook, model and the like) by name; times in epoch ms; ``counts``: what came of it;
    ``reason``: why it failed; ``spent``: of this run alone, of the earlier ones it resumed nothing."""

    command: str
    options: dict[str, Any]
    versions: dict[str, str]
    started_at: int
    finished_at: int | None = None
    state: State = "running"
    reason: str = ""
    counts: dict[str, int | float] = msgspec.field(default_factory=dict)
    spent: Spent | None = None


@contextmanager
def run_manifest(
    directory: Path,
    command: str,
    options: Mapping[str, Any],
    versions: Mapping[str, str],
    spent: Callable[[], Spent] | None = None,
) -> Iterator[RunManifest]:
    """Writes the manifest when the block begins and again when it ends, however it ends; the block fills in ``counts``.

    Args:
        directory: of the run.
        command: as in ``tagstream offline tag-data extract``.
        options: what it was given; paths and structs are welcome, secrets are not.
        versions: of whatever changes the outcome.
        spent: tells what was spent, at the end.
    """
    manifest = RunManifest(
        command=command, options=msgspec.to_builtins(dict(options), enc_hook=str), versions=dict(versions), started_at=_now()
    )
    write_manifest(directory, manifest)
    try:
        yield manifest
        manifest.state = "finished"
    except BaseException as error:
        manifest.state = "failed" if isinstance(error, Exception) else "interrupted"
        manifest.reason = str(error)
        raise
    finally:
        manifest.finished_at = _now()
        if spent is not None:
            manifest.spent = spent()
        write_manifest(directory, manifest)


def write_manifest(directory: Path, manifest: RunManifest) -> Path:
    """Writes ``manifest.json`` whole, or leaves the one before."""
    path = directory / FILE
    write_json(path, manifest)
    return path


def read_manifest(directory: Path) -> RunManifest | None:
    """The manifest of a run; None where there is none."""
    path = directory / FILE
    return msgspec.json.decode(path.read_bytes(), type=RunManifest) if path.is_file() else None


def _now() -> int:
    return time.time_ns() // 1_000_000
