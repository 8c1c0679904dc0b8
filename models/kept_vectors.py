"""Vectors of lists of texts that never change, kept in files, so that not every process has to encode the handbook anew."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.roles import TagEncoder


class KeptVectors:
    """Implements ``models.roles.TagEncoder`` for whole lists: the same texts in the same order are encoded once.

    Args:
        encoder: encodes what is not kept yet; its version is part of each file's name.
        directory: where the files are, made when first needed. A file that is damaged is made anew; where none can be written, none is.
    """

    def __init__(self, encoder: TagEncoder, directory: Path) -> None:
        self._encoder = encoder
        self._directory = directory
        self.dimension = encoder.dimension
        self.version = encoder.version

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See ``models.roles.TagEncoder``."""
        key = msgspec.json.encode([self.version, texts])
        path = self._directory / f"{hashlib.blake2b(key, digest_size=16).hexdigest()}.npy"
        kept = _read(path, (len(texts), self.dimension))
        if kept is None:
            kept = self._encoder.encode(texts)
            with suppress(OSError):
                _write(path, kept)
        return kept


def _read(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    try:
        with path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _write(path: Path, vectors: NDArray[np.float32]) -> None:
    """Whole or not at all, whoever else writes the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.save(file, vectors)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
