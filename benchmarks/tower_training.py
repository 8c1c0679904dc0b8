"""Tower training: our loop against a plain ``DataLoader`` loop of the same two towers, in examples a second at equal recall.

An example is one action to be foretold from the reader's history. The plain loop is the usual one: a ``Dataset`` gives a (history, target)
pair for each action, a ``collate_fn`` makes tensors of a batch, the batch's other targets are the negatives, dense Adam. Ours hides a part
of each reader's history and foretells all of it in one row, with histories, targets and tags gathered from sparse matrices at once. Same
towers, same random start, same optimiser and rate, one thread for both, each trained until its recall no longer grows; then both are judged
on the same cold notes. A row foretells many actions of one reader with one input, so ours needs more examples for the same recall: the
seconds that each took are reported beside the rate.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from benchmarks.report import Row
from models.closed_form import Content
from models.tag_content import ContentSpec
from models.towers import Bag, Features, softmax_loss
from offline.recall_content import build_content
from offline.recall_data import FOREVER, Actions, RecallData
from offline.recall_linear import LinearSpec, fit_linear
from offline.recall_metrics import judge
from offline.recall_task import Task, make_task
from offline.tower_batches import Source, Step, TowerSpec
from offline.tower_training import Training
from offline.train_towers import Towers, source_of, start_towers, tower_ranker

K = 50
TAGS_A_NOTE = 12
VECTOR = 64


class Size(Struct, frozen=True):
    """The community; ``epochs`` of ours; ``plain_epochs`` through all pairs by the plain loop."""

    readers: int = 2_000
    notes: int = 6_000
    topics: int = 60
    actions: int = 40
    epochs: int = 16
    batch: int = 128
    plain_epochs: float = 2.0
    plain_batch: int = 512


def run(size: Size = Size()) -> list[Row]:  # noqa: B008
    """Examples a second of both loops, and their recall."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run(size)
    finally:
        torch.set_num_threads(threads)


def _run(size: Size) -> list[Row]:
    task = make_task(_community(size), "random")
    vectors = np.random.default_rng(1).standard_normal((len(task.content.texts), VECTOR)).astype(np.float32)
    content, _ = build_content(task, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), ContentSpec(buckets=4))
    linear = fit_linear(task, content, LinearSpec(rank=32))
    spec = TowerSpec(start="random", batch=size.batch, candidates=1024, temperature=0.1, rate=3e-3, average=0.9, tags_hidden=0.0, warm_up=5)
    source = source_of(linear)

    towers = start_towers(linear, spec, 0)
    training = Training(towers.reader, towers.note, source, spec, 0)
    counted = _counted(training)
    begun = time.perf_counter()
    for _ in range(size.epochs):
        training.run_epoch()
    ours_s = time.perf_counter() - begun
    recall = _recall(towers._replace(reader=training.reader, note=training.note), task)

    plain = start_towers(linear, spec, 0)
    seen, plain_s = _plain(plain, source, replace(spec, batch=size.plain_batch), size.plain_epochs)
    peer = "plain DataLoader loop of the same towers"
    return [
        Row(
            what="tower training, one thread",
            unit="examples/s",
            ours=counted[0] / ours_s,
            peer=seen / plain_s,
            peer_name=peer,
            ratio_at_least=5.0,
        ),
        Row(what=f"recall@{K} of cold notes at the end of it", unit="share", ours=recall, peer=_recall(plain, task), peer_name=peer),
        Row(what="time it took", unit="s", ours=ours_s, peer=plain_s, peer_name=peer, note=f"{counted[0]:,} and {seen:,} examples"),
    ]


def _counted(training: Training) -> list[int]:
    """A count of the targets that the training sees."""
    count, run_step = [0], training.run_step

    def counting(step: Step) -> float:
        count[0] += int(step.sums[0])
        return run_step(step)

    training.run_step = counting  # type: ignore[method-assign]
    return count


class Pairs(Dataset[tuple[NDArray[np.int64], NDArray[np.float32], int]]):
    """(history, weights, target) for each action; the target is not in the history."""

    def __init__(self, history: Any) -> None:
        self._history = history
        self._reader = np.repeat(np.arange(history.shape[0]), np.diff(history.indptr))
        self._rows = np.flatnonzero(np.diff(history.indptr)[self._reader] >= 2)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
        place = self._rows[index]
        begin, end = self._history.indptr[self._reader[place] : self._reader[place] + 2]
        notes, weights, target = self._history.indices[begin:end], self._history.data[begin:end], self._history.indices[place]
        others = notes != target
        return notes[others].astype(np.int64), weights[others], int(target)


class Collate:
    """Makes tensors of a batch of pairs: the reader's notes, tags and dense features, the targets' tags and dense features."""

    def __init__(self, content: Content, own: float) -> None:
        tags = content.tags.tocsr()
        self._ids = [tags.indices[tags.indptr[row] : tags.indptr[row + 1]].astype(np.int64) for row in range(tags.shape[0])]
        self._weights = [tags.data[tags.indptr[row] : tags.indptr[row + 1]] for row in range(tags.shape[0])]
        self._dense = content.dense
        self._own = own

    def __call__(self, batch: Sequence[tuple[NDArray[np.int64], NDArray[np.float32], int]]) -> tuple[Features, Features, torch.Tensor]:
        histories, tags, dense = [], [], []
        for notes, weights, _ in batch:
            unit = weights / max(float(np.sqrt((weights * weights).sum())), 1e-9)
            histories.append((notes, unit))
            ids = np.concatenate([self._ids[note] for note in notes])
            values = np.concatenate([self._weights[note] * (self._own * weight) for note, weight in zip(notes, unit, strict=True)])
            tags.append((ids, values))
            dense.append(self._own * unit @ self._dense[notes])
        targets = np.array([target for _, _, target in batch])
        readers = Features(_bag(tags), torch.from_numpy(np.stack(dense).astype(np.float32)), _bag(histories))
        items = Features(_bag([(self._ids[note], self._weights[note]) for note in targets]), torch.from_numpy(self._dense[targets]))
        return readers, items, torch.from_numpy(targets)


def _bag(rows: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> Bag:
    starts = np.cumsum([0, *(len(ids) for ids, _ in rows[:-1])])
    ids, weights = (np.concatenate([row[part] for row in rows]) for part in (0, 1))
    return Bag(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(starts), torch.from_numpy(weights.astype(np.float32)))


def _plain(towers: Towers, source: Source, spec: TowerSpec, epochs: float) -> tuple[int, float]:
    """Trains in place; how many examples in how many seconds."""
    torch.manual_seed(0)
    loader = DataLoader(Pairs(source.history), spec.batch, shuffle=True, collate_fn=Collate(source.content, source.own))
    optimiser = torch.optim.Adam([*towers.reader.parameters(), *towers.note.parameters()], lr=spec.rate)
    seen, begun, examples = 0, time.perf_counter(), epochs * len(loader) * spec.batch
    for readers, items, targets in _without_end(loader):
        scores = towers.reader(readers) @ towers.note(items).T
        same = targets[:, None] == targets[None, :]
        loss = softmax_loss(scores, torch.eye(len(targets)), same & ~torch.eye(len(targets), dtype=torch.bool), spec.temperature)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        seen += len(targets)
        if seen >= examples:
            break
    return seen, time.perf_counter() - begun


def _without_end(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _recall(towers: Towers, task: Task) -> float:
    return float(judge(tower_ranker(towers, task.cold), task, K)[:, 0].mean())


def _community(size: Size) -> RecallData:
    """Readers who act on notes of a few topics; a topic has its tags."""
    rng = np.random.default_rng(7)
    topic = rng.integers(size.topics, size=size.notes)
    tags = []
    for note in range(size.notes):
        own = [f"t{topic[note]} tag {tag}" for tag in rng.integers(40, size=TAGS_A_NOTE - 4)]
        tags.append(list(dict.fromkeys([*own, *(f"word {word}" for word in rng.integers(500, size=4))])))
    rows = []
    for reader in range(size.readers):
        liked = rng.choice(size.topics, 3, replace=False)
        chance = np.where(np.isin(topic, liked), 1.0, 0.01)
        rows += [(reader, int(note)) for note in rng.choice(size.notes, size.actions, replace=False, p=chance / chance.sum())]
    reader_, note_ = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    count = len(rows)
    ones = np.ones(count, np.float32)
    actions = Actions(reader_, note_, ones, ones > 0, np.arange(count, dtype=np.int64), np.full(count, FOREVER, np.int64))
    notes, readers = [f"n{row}" for row in range(size.notes)], [f"u{row}" for row in range(size.readers)]
    return RecallData("planted", notes, readers, tags, None, actions, dated=True)
