"""From sounds to utterances: voices found, cut into stretches, recognised in batches of like length, tags read."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.roles import Utterance
from models.sound import SAMPLE_RATE
from models.transcriber.rich import parse_rich
from models.transcriber.voices import CutSpec, SileroVoices, Stretch, stretches

Floats = NDArray[np.float32]


class Recogniser(Protocol):
    """A speech model. ``version`` changes with anything that changes texts; ``batch`` is how many it takes at a time: one where a
    stretch's text would depend on what else is in the batch."""

    version: str
    batch: int

    def recognise(self, pieces: Sequence[Floats]) -> Sequence[object]:
        """Raw output of each piece, with its tags."""
        ...


class BatchSpec(Struct, frozen=True, kw_only=True):
    """Stretches recognised together: at most ``seconds`` with the padding, the longest at most ``stretch`` times the shortest."""

    seconds: float = 60.0
    stretch: float = 1.3


class SenseVoiceTranscriber:
    """A transcriber on any recogniser that puts out SenseVoice's tags."""

    name = "sense_voice"

    def __init__(self, recogniser: Recogniser, voices: SileroVoices, cut: CutSpec | None = None, batch: BatchSpec | None = None) -> None:
        self.version = recogniser.version
        self._recogniser, self._voices = recogniser, voices
        self._cut, self._batch = cut or CutSpec(), batch or BatchSpec()

    def transcribe(self, sounds: Sequence[Floats]) -> list[list[Utterance]]:
        """See ``models.roles.Transcriber``."""
        clean = [np.clip(np.nan_to_num(np.asarray(sound, np.float32).reshape(-1)), -1.0, 1.0) for sound in sounds]
        cuts = [(index, piece) for index, sound in enumerate(clean) for piece in self._stretches(sound)]
        raw: dict[int, object] = {}
        for chosen in batches([end - start for _, (start, end) in cuts], self._recogniser.batch, self._batch):
            pieces = [clean[cuts[at][0]][cuts[at][1].start : cuts[at][1].end] for at in chosen]
            raw.update(zip(chosen, self._recogniser.recognise(pieces), strict=False))
        found: list[list[Utterance]] = [[] for _ in sounds]
        for at, (index, piece) in enumerate(cuts):
            utterance = _utterance(raw.get(at), piece)
            if utterance is not None:
                found[index].append(utterance)
        return found

    def _stretches(self, sound: Floats) -> list[Stretch]:
        return stretches(self._voices.probabilities(sound), len(sound), self._cut) if len(sound) else []


def batches(lengths: Sequence[int], most: int, spec: BatchSpec) -> Iterator[list[int]]:
    """Indices of stretches that go together, the longest ones first; each comes once."""
    order = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
    batch: list[int] = []
    for at in order:
        longest = lengths[batch[0]] if batch else 0
        full = len(batch) >= most or longest * (len(batch) + 1) > spec.seconds * SAMPLE_RATE or longest > spec.stretch * lengths[at]
        if batch and full:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _utterance(raw: object, piece: Stretch) -> Utterance | None:
    """None where nothing was said."""
    rich = parse_rich(raw)
    if not rich.text:
        return None
    start_ms, end_ms = (round(at * 1000 / SAMPLE_RATE) for at in piece)
    return Utterance(rich.text, start_ms, end_ms, rich.language, rich.emotion, rich.events)
