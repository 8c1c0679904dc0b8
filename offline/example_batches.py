"""Training examples as flat arrays on disk, mapped into memory: each batch is gathered from them without a loop over examples.

An example is a reader's history as it stood just before an action, and the note acted on. The files hold histories one after the other:
``starts.bin`` int64 (examples + 1), ``notes.bin`` int32 and ``weights.bin`` float32 (all entries), ``targets.bin`` int32 (examples). Notes
are rows of the table that the towers are trained with.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from offline.recall_data import WEIGHTS
from offline.tower_batches import Batch
from offline.whole_file import whole_directory

Array = NDArray[Any]


def write_arrays(examples: Path, notes: Sequence[str], out: Path, until_ms: int | None = None) -> int:
    """Writes the arrays of what ``towers data`` collected; whole or not at all, one file of a day in memory at a time.

    Args:
        notes: ids of the notes trained on. Others are left out of histories, and so are examples of them.
        out: directory, replaced.
        until_ms: event time of the last example; None for all.

    Returns:
        How many examples there are.
    """
    rows = pl.DataFrame({"note": notes, "row": np.arange(len(notes), dtype=np.int32)}, schema={"note": pl.String, "row": pl.Int32})
    count, end = 0, 0
    with whole_directory(out) as made:
        with (
            (made / "starts.bin").open("wb") as starts,
            (made / "notes.bin").open("wb") as entries,
            (made / "weights.bin").open("wb") as weights,
            (made / "targets.bin").open("wb") as targets,
        ):
            np.zeros(1, np.int64).tofile(starts)
            for path in sorted(examples.glob("day=*/partition-*.parquet")):
                sizes, note, weight, target = _arrays(path, rows, until_ms)
                (end + np.cumsum(sizes, dtype=np.int64)).tofile(starts)
                note.tofile(entries)
                weight.tofile(weights)
                target.tofile(targets)
                count, end = count + len(sizes), end + len(note)
        shutil.rmtree(out, ignore_errors=True)
    return count


def _arrays(path: Path, rows: pl.DataFrame, until_ms: int | None) -> tuple[Array, Array, Array, Array]:
    """Lengths of histories, their notes and weights, and targets, of one file. What has no history is no example."""
    actions = pl.scan_parquet(path).filter(pl.col("action").is_in(list(WEIGHTS)))
    if until_ms is not None:
        actions = actions.filter(pl.col("occurred_at") <= until_ms)
    wanted = actions.select("note_id", "history_notes", "history_weights").collect()
    known = wanted.join(rows, left_on="note_id", right_on="note", how="inner", maintain_order="left").rename({"row": "target"})
    each = known.with_row_index("example").explode("history_notes", "history_weights", empty_as_null=True)
    joined = each.join(rows, left_on="history_notes", right_on="note", how="inner", maintain_order="left")
    joined = joined.filter(pl.col("row") != pl.col("target"))  # what is to be foretold is not told
    sizes = joined.group_by("example", maintain_order=True).agg(pl.len(), pl.col("target").first())
    return (
        sizes["len"].cast(pl.Int64).to_numpy(),
        joined["row"].to_numpy(),
        joined["history_weights"].to_numpy(),
        sizes["target"].to_numpy(),
    )


class ExampleBatches:
    """The batches of an epoch over written arrays (``offline.tower_batches.Batches``), in a random order.

    Args:
        directory: what ``write_arrays`` wrote.
        notes: rows of the table trained with.
        size: examples a batch.
    """

    def __init__(self, directory: Path, notes: int, size: int) -> None:
        self._starts = _mapped(directory / "starts.bin", np.int64)
        self._notes = _mapped(directory / "notes.bin", np.int32)
        self._weights = _mapped(directory / "weights.bin", np.float32)
        self._targets = _mapped(directory / "targets.bin", np.int32)
        self._width = notes
        self._size = size

    def __len__(self) -> int:
        return len(self._targets)

    def __call__(self, generator: np.random.Generator) -> Iterator[Batch]:
        order = generator.permutation(len(self))
        for begin in range(0, len(order), self._size):
            yield self.gather(np.sort(order[begin : begin + self._size]))

    def gather(self, examples: Array) -> Batch:
        """The batch of some examples, by number."""
        begins, ends = self._starts[examples], self._starts[examples + 1]
        lengths = ends - begins
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(indptr[-1]) + np.repeat(begins - indptr[:-1], lengths)
        shape = (len(examples), self._width)
        kept = sparse.csr_matrix((self._weights[places], self._notes[places], indptr), shape=shape)
        ones, each = np.ones(len(examples), np.float32), np.arange(len(examples) + 1)
        return Batch(kept, sparse.csr_matrix((ones, self._targets[examples], each), shape=shape))


def _mapped(path: Path, kind: type) -> Array:
    """A file as an array; an empty file cannot be mapped."""
    return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, kind)
