"""Prepared rows made into batches: ids with a place for every token of a picture, positions in three axes, and what is to be learned."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from offline.demo_models.vlm_build import MERGE, PATCH

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
ROUND = 32  # lengths are padded to a multiple
CHUNK = 16  # batches whose rows are sorted by length together


class Row(NamedTuple):
    """``ids``: (length,); ``positions``: (3, length) over time, height and width; ``answer``: where it begins; ``pictures``: by number."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    answer: int
    pictures: NDArray[np.int64]


class Batch(NamedTuple):
    """Right-padded. ``ids``: (rows, length); ``positions``: (3, rows, length); ``learned``: (rows, length), whether the id is part of an
    answer; ``pictures``: of all rows, in order."""

    ids: torch.Tensor
    positions: torch.Tensor
    learned: torch.Tensor
    pictures: torch.Tensor


def read_rows(directory: Path, image_token: int, side: int) -> list[Row]:
    """The training rows of a prepared directory; a picture has ``side`` x ``side`` tokens."""
    with np.load(directory / "rows.npz") as stored:
        ids, ends, answers = stored["ids"].astype(np.int64), stored["ends"], stored["answers"].astype(int)
        pictures, picture_ends = stored["pictures"].astype(np.int64), stored["picture_ends"]
    starts, picture_starts = np.concatenate([[0], ends[:-1]]), np.concatenate([[0], picture_ends[:-1]])
    return [
        _row(ids[start:end], answer, pictures[first:last], image_token, side)
        for start, end, answer, first, last in zip(starts, ends, answers, picture_starts, picture_ends, strict=True)
    ]


def batches(rows: list[Row], size: int, seed: int) -> Iterator[Batch]:
    """Batches without end, each epoch in another order; rows of a batch are about as long as each other."""
    epoch = 0
    while True:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(rows))
        groups: list[NDArray[np.int64]] = []
        for first in range(0, len(order), size * CHUNK):
            chunk = sorted(order[first : first + size * CHUNK], key=lambda number: len(rows[number].ids))
            groups += [np.asarray(chunk[at : at + size]) for at in range(0, len(chunk), size)]
        for number in rng.permutation(len(groups)):
            yield _batch([rows[row] for row in groups[number]])
        epoch += 1


def tiles(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (n, side, side, 3) of uint8 as InternVL's vision part takes them: (n, 3, side, side)."""
    mean, deviation = (torch.tensor(values, device=pixels.device) * 255 for values in (MEAN, DEVIATION))
    return ((pixels.float() - mean) / deviation).permute(0, 3, 1, 2)


def patches(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (n, side, side, 3) of uint8 as Qwen's vision part takes them: (n, patches, values), in the processor's order."""
    count, side = pixels.shape[0], pixels.shape[1]
    grid = side // PATCH
    cut = tiles(pixels).reshape(count, 3, grid // MERGE, MERGE, PATCH, grid // MERGE, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return cut.unsqueeze(6).expand(*cut.shape[:6], 2, PATCH, PATCH).reshape(count, grid * grid, -1)


def _row(ids: NDArray[np.int64], answer: int, pictures: NDArray[np.int64], image_token: int, side: int) -> Row:
    place = np.where(ids == image_token)[0]
    assert len(place) == len(pictures)
    repeats = np.ones(len(ids), np.int64)
    repeats[place] = side * side
    positions = np.zeros((3, int(repeats.sum())), np.int64)
    rows, columns = np.divmod(np.arange(side * side), side)
    at = here = previous = 0
    for one in [*place.tolist(), len(ids)]:
        text = one - previous
        positions[:, at : at + text] = here + np.arange(text)
        at, here, previous = at + text, here + text, one + 1
        if one < len(ids):
            positions[:, at : at + side * side] = here + np.stack([np.zeros_like(rows), rows, columns])
            at, here = at + side * side, here + side
    return Row(np.repeat(ids, repeats), positions, answer + len(place) * (side * side - 1), pictures)


def _batch(rows: list[Row]) -> Batch:
    length = -(-max(len(row.ids) for row in rows) // ROUND) * ROUND
    ids = np.zeros((len(rows), length), np.int64)
    positions = np.zeros((3, len(rows), length), np.int64)
    learned = np.zeros((len(rows), length), bool)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
        positions[:, number, : len(row.ids)] = row.positions
        learned[number, row.answer : len(row.ids)] = True
    pictures = np.concatenate([row.pictures for row in rows])
    return Batch(*(torch.from_numpy(one) for one in (ids, positions, learned, pictures)))
