"""A small real space without training: a tag is a random direction of its hash, a note the mean of its tags by confidence, a
reader the weighted mean of the notes acted on. ``write_space`` makes its directory as an export does."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.roles import ActedNote


class HashingSpace:
    """``models.roles.Space``."""

    def __init__(self, directory: Path, encoder: object = None) -> None:
        card = json.loads((directory / "space.json").read_text())
        self.name: str = card["name"]
        self.dimension: int = card["dimension"]
        self.version: str = card["version"]
        self._scale = np.load(directory / "scale.npy")

    def notes(self, tags: Sequence[Sequence[str]], confidences: Sequence[Sequence[float]] | None = None) -> NDArray[np.float32]:
        rows = np.zeros((len(tags), self.dimension), np.float32)
        for number, texts in enumerate(tags):
            for text, sure in zip(texts, confidences[number] if confidences else [1.0] * len(texts), strict=True):
                rows[number] += np.float32(sure) * self._direction(text)
            if (length := np.linalg.norm(rows[number])) > 0:
                rows[number] *= self._scale / length
        return rows

    def readers(self, histories: Sequence[Sequence[ActedNote]]) -> NDArray[np.float32]:
        rows = np.zeros((len(histories), self.dimension), np.float32)
        for number, history in enumerate(histories):
            for one, vector in zip(history, self.notes([acted.tags for acted in history]), strict=True):
                rows[number] += np.float32(one.weight) * vector
        return rows

    def _direction(self, text: str) -> NDArray[np.float32]:
        return np.random.default_rng(zlib.crc32(f"{self.name} {text}".encode())).standard_normal(self.dimension).astype(np.float32)


def write_space(directory: Path, name: str, dimension: int = 16, version: str = "1", scale: float = 1.0) -> Path:
    """The space's directory."""
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / "scale.npy", np.float32(scale))
    card = {"name": name, "kind": "hashing", "dimension": dimension, "version": version}
    (directory / "space.json").write_text(json.dumps(card))
    return directory
