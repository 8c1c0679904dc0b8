"""Sentences put together from clauses of one voice, changed a little each time, as features on the training device."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.transcriber.front_end import low_frame_rate
from offline.simulate.catalogue import Language
from offline.speech.network import QUERIES, tags
from offline.speech.render import LOWEST, STEPS, Spoken, as_banks, files_of
from offline.speech.said import Kind, written

TOGETHER, STEP = 7, 6
SHAPES: tuple[tuple[Kind, ...], ...] = (
    ("say",), ("say",), ("open", "say", "close"), ("open", "say", "close"), ("open", "say", "say", "close"),
    ("open", "say"), ("say", "close"), ("say", "say"), ("open",), ("close",), ("whole",), ("whole",), ("whole",), ("whole",),
)  # fmt: skip
NOBODY = 0.02
AHEAD = 8
TRACT = 0.1
TIMBRE = 0.6
SILENT = 44.0
RUN_ON = 0.7
STYLES = ("withitn", "woitn")
MOST_CMVN_FRAMES = 400_000


class Batch(NamedTuple):
    """``rows``: of the corpus' banks, (sentences, frames of the network, 7), -1 where there is none; ``frames``: lengths; ``targets``: four
    tags and the text's pieces, padded with -1; ``styles``: rows of the network's queries. On the CPU."""

    rows: Tensor
    frames: Tensor
    targets: Tensor
    sizes: Tensor
    styles: Tensor


class Corpus:
    """All clauses that train, their banks on the device."""

    def __init__(self, data: Path, pieces: Any, device: str) -> None:
        found = list(files_of(data, "[ze][hn]-*.npz"))
        banks = np.concatenate([item.banks for item in found])
        self.cmvn = _cmvn(banks)
        self.device = device
        self.banks = torch.from_numpy(banks).to(device)
        self.clauses = sum(len(item.clauses) for item in found)
        self.sentences = Sentences(found, pieces)

    def features(self, batch: Batch, draw: torch.Generator) -> Tensor:
        """(sentences, frames, 560), changed by chance: loudness, noise, timbre, the length of the vocal tract, masks."""
        rows = batch.rows.to(self.device, non_blocking=True)
        banks = self.banks[rows.clamp(min=0).long()].float() / STEPS + LOWEST
        silent = (rows < 0).unsqueeze(-1)
        banks = torch.where(silent, torch.full_like(banks, LOWEST), banks)
        return self.scaled(_changed(banks, draw))

    def scaled(self, banks: Tensor) -> Tensor:
        """Shifted and scaled as ``am.mvn`` does."""
        added, factor = (torch.from_numpy(row).to(self.device) for row in self.cmvn)
        return (banks.reshape(*banks.shape[:2], -1) + added) * factor


class Sentences:
    """What a sentence may be put together from: clauses by voice and kind, as rows of the corpus' banks."""

    def __init__(self, found: list[Spoken], pieces: Any) -> None:
        self._pieces = pieces
        self._voices: list[tuple[Language, dict[str, list[tuple[int, int, int, str]]]]] = []
        first = 0
        for item in found:
            self._voices.append((item.clauses[0].language, _by_kind(item, first)))
            first += len(item.banks)

    def batch(self, draw: np.random.Generator, size: int) -> Batch:
        """Sentences of one shape, so that they are of like length, each of a voice by chance."""
        shape = SHAPES[draw.integers(len(SHAPES))]
        rows, targets, styles = [], [], []
        for _ in range(size):
            language, by_kind = self._voices[draw.integers(len(self._voices))]
            told = [by_kind[kind][draw.integers(len(by_kind[kind]))] for kind in shape]
            style = STYLES[draw.integers(2)]
            styles.append(QUERIES[style])
            if draw.random() < NOBODY:
                rows.append(np.full((int(draw.integers(4, 30)), TOGETHER), -1))
                targets.append(tags(self._pieces, None, style))
                continue
            run_on = draw.random() < RUN_ON
            spans = [(start, loud if run_on and place + 1 < len(told) else end) for place, (start, loud, end, _) in enumerate(told)]
            source = np.concatenate([np.arange(start, end) for start, end in spans])
            rows.append(_rows(source, draw.uniform(0.88, 1.14)))
            text = written("".join(f"{text} " for *_, text in told), language)
            targets.append(tags(self._pieces, language, style) + self._pieces.encode(text))
        return _pad(rows, targets, styles)


class _Drawn(Dataset[Batch]):
    """Batch i is a function of the seed and of i, so that any process may put it together."""

    def __init__(self, sentences: Sentences, seed: int, size: int) -> None:
        self._sentences, self._seed, self._size = sentences, seed, size

    def __getitem__(self, step: int) -> Batch:
        return self._sentences.batch(np.random.default_rng((self._seed, step)), self._size)


def drawn(sentences: Sentences, seed: int, size: int, steps: range, workers: int, *, pinned: bool) -> Iterator[Batch]:
    """The batches of these steps, put together ahead of time by ``workers`` processes; 0: by this one, when they are asked for."""
    own = torch.Generator().manual_seed(seed)
    ahead = AHEAD if workers else None
    loader = DataLoader(
        _Drawn(sentences, seed, size), batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=ahead, pin_memory=pinned,
        generator=own,
    )  # fmt: skip
    return iter(loader)


class Heard(NamedTuple):
    """Sentences of the test as features, with what was said."""

    language: Language
    features: list[Tensor]
    texts: list[str]


def heard(data: Path, language: Language, cmvn: NDArray[np.float32], part: Literal["test", "trial"] = "test") -> Heard:
    """The test of a language, or what settings are chosen by: whole sentences by voices that do not train."""
    item = next(iter(files_of(data, f"{part}-{language}.npz")))
    features = []
    for start, end in zip(item.starts[:-1], item.starts[1:], strict=True):
        frames = low_frame_rate(as_banks(item.banks[start:end]), TOGETHER, STEP)
        features.append(torch.from_numpy((frames + cmvn[0]) * cmvn[1]))
    return Heard(language, features, [written(clause.text, language) for clause in item.clauses])


def _by_kind(item: Spoken, first: int) -> dict[str, list[tuple[int, int, int, str]]]:
    """First row, the one after the last that is loud, the one after the last, and the text. espeak-ng ends a Chinese clause with silence
    when it stands alone, and runs on to the next one otherwise."""
    loud = item.banks.mean(axis=1) > SILENT
    found: dict[str, list[tuple[int, int, int, str]]] = {}
    for at, clause in enumerate(item.clauses):
        start, end = int(item.starts[at]), int(item.starts[at + 1])
        heard_at = np.flatnonzero(loud[start:end])
        last = start + int(heard_at[-1]) + 2 if len(heard_at) else end
        found.setdefault(clause.kind, []).append((first + start, first + min(last, end), first + end, clause.text))
    return found


def _cmvn(banks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """From every k-th frame: what is added, what is then multiplied by."""
    sample = as_banks(banks[:: max(1, len(banks) // MOST_CMVN_FRAMES)])
    mean, deviation = sample.mean(axis=0), sample.std(axis=0)
    return np.stack([np.tile(-mean, TOGETHER), np.tile(1.0 / np.maximum(deviation, 1e-3), TOGETHER)]).astype(np.float32)


def _rows(source: NDArray[np.int64], tempo: float) -> NDArray[np.int64]:
    """Rows of banks for each frame of the network, at another tempo: (frames, 7)."""
    length = max(1, int(len(source) / tempo))
    warped = source[np.minimum((np.arange(length) * tempo).astype(np.int64), len(source) - 1)]
    places = np.arange(-(-length // STEP))[:, None] * STEP + np.arange(TOGETHER)[None, :] - (TOGETHER - 1) // 2
    return np.asarray(warped[np.clip(places, 0, length - 1)])


def _pad(rows: list[NDArray[np.int64]], targets: list[list[int]], styles: list[int]) -> Batch:
    frames, sizes = [len(item) for item in rows], [len(item) for item in targets]
    placed = np.full((len(rows), max(frames), TOGETHER), -1, np.int32)
    wanted = np.full((len(rows), max(sizes)), -1, np.int64)
    for at, (row, target) in enumerate(zip(rows, targets, strict=True)):
        placed[at, : len(row)] = row
        wanted[at, : len(target)] = target
    return Batch(torch.from_numpy(placed), torch.tensor(frames), torch.from_numpy(wanted), torch.tensor(sizes), torch.tensor(styles))


def _changed(banks: Tensor, draw: torch.Generator) -> Tensor:
    """(sentences, frames, 7, mels) log banks, changed."""
    count, frames, _, mels = banks.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=draw, device=banks.device) * (high - low) + low

    scale = uniform(1 - TRACT, 1 + TRACT)
    place = (torch.arange(mels, device=banks.device).view(1, 1, 1, -1) * scale + uniform(-1.0, 1.0)).clamp(0, mels - 1.001)
    low = place.floor().long().expand_as(banks)
    part = place - place.floor()
    banks = banks.gather(-1, low) * (1 - part) + banks.gather(-1, low + 1) * part
    for wave in (1, 2, 3):
        height = torch.randn(count, 1, 1, 1, generator=draw, device=banks.device) * TIMBRE
        banks = banks + height * torch.cos(math.pi * wave / mels * (torch.arange(mels, device=banks.device) + 0.5))
    noise = uniform(LOWEST, 5.0) + torch.randn(banks.shape, generator=draw, device=banks.device) * 0.7
    banks = torch.logaddexp(banks + uniform(-3.0, 2.0), noise)
    spare = torch.full_like(banks, 13.0)
    for _ in range(2):
        at, wide = uniform(0, mels), uniform(0, 12)
        mel = torch.arange(mels, device=banks.device).view(1, 1, 1, -1)
        banks = torch.where((mel >= at) & (mel < at + wide), spare, banks)
        start, long = uniform(0, frames), uniform(0, 3)
        when = torch.arange(frames, device=banks.device).view(1, -1, 1, 1)
        banks = torch.where((when >= start) & (when < start + long), spare, banks)
    return banks
