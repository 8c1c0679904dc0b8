"""A training run's own account: what it was started with, and what came out. A run goes on only as what it was started as."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from offline.distil.train_options import first_process
from offline.distil.training import Training
from offline.whole_file import write_json
from schemas.errors import BadSetting

FILE = "manifest.json"
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "tagstream")


class Manifest:
    """``manifest.json`` of a run's directory.

    Args:
        out: the run.
        started: what it is started with; two runs of the same have the same weights.

    Raises:
        BadSetting: when another run stands there.
    """

    def __init__(self, out: Path, started: dict[str, Any]) -> None:
        self._path = out / FILE
        self._started = json.loads(json.dumps(started))
        self.figures: dict[str, Any] | None = None
        if self._path.is_file():
            found = json.loads(self._path.read_bytes())
            differ = [name for name in self._started if found.get("started", {}).get(name) != self._started[name]]
            if differ:
                raise BadSetting(f"{out}: holds a run with other {', '.join(differ)}; choose another --out")
            self.figures = found.get("figures")

    def write(self, figures: dict[str, Any] | None = None) -> dict[str, Any]:
        """Writes it whole; ``figures`` say that the run is done. Returns what it holds."""
        held = {
            "state": "done" if figures else "running",
            "started": self._started,
            "versions": {name: version(name) for name in LIBRARIES},
        }
        held |= {"figures": figures} if figures else {}
        if not first_process():
            return held
        write_json(self._path, held)
        return held


def started_with(command: str, model: str, weights: str, data: Path, training: Training) -> dict[str, Any]:
    """What a run depends on. Options of speed alone are none of it."""
    options = msgspec.to_builtins(training)
    for name in ("workers", "cache_mb", "save_steps", "log_steps"):
        del options[name]
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    return {"command": command, "model": model, "weights": weights, "data": data.name, "data_digest": digest, "options": options}
