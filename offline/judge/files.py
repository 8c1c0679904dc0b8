"""Reports of judging as JSON, which say where the samples and answers lie, so that a page can show them."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct


class Files(Struct, frozen=True):
    """What was judged; paths are relative to the report's directory. ``reference`` and ``truth``: None where there is no such file."""

    samples: str
    models: dict[str, str]
    reference: str | None = None
    truth: str | None = None


def files_from(out: Path, samples: Path, models: Mapping[str, Path], reference: Path | None = None, truth: Path | None = None) -> Files:
    """Paths as seen from ``out``."""
    return Files(
        _from(out, samples),
        {name: _from(out, path) for name, path in models.items()},
        _from(out, reference) if reference else None,
        _from(out, truth) if truth else None,
    )


def _from(out: Path, path: Path) -> str:
    return os.path.relpath(path.resolve(), out.resolve())
