"""Notes per second and core of ``HandbookTagger`` on the sample notes, phrases not seen before, and where the time goes."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row
from models.handbook import load_handbook
from models.handbook_tagger import HandbookTagger
from models.phrases import find_phrases, parts_of
from models.roles import TagEncoder
from models.words import Words
from offline.samples.load import sample_notes
from schemas.settings import load

BATCH = 16


class TimedEncoder:
    """A tag encoder that adds up the CPU seconds spent in it."""

    def __init__(self, encoder: TagEncoder) -> None:
        self.dimension = encoder.dimension
        self.version = encoder.version
        self.cpu_s = 0.0
        self._encoder = encoder

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        started = time.process_time()
        vectors = self._encoder.encode(texts)
        self.cpu_s += time.process_time() - started
        return vectors


def run() -> list[Row]:
    """Every second sample note warms the handbook's vectors; the others are measured, then once more with their vectors cached."""
    from models.encoder import load_tag_encoder

    encoder = TimedEncoder(load_tag_encoder(load()))
    handbook = load_handbook()
    tagger = HandbookTagger(handbook, encoder)
    words = Words(handbook)
    notes = [note for note in sample_notes() if note.type != "note.deleted"]
    tagger.tag(notes[::2])
    fresh = notes[1::2]
    encoder.cpu_s = 0.0
    total = _cpu_of(lambda: [tagger.tag(fresh[start : start + BATCH]) for start in range(0, len(fresh), BATCH)])
    encoding = encoder.cpu_s
    cached = _cpu_of(lambda: tagger.tag(fresh))
    phrases = _cpu_of(lambda: [find_phrases(parts_of(note), words) for note in fresh])
    per_note = 1000 / len(fresh)
    return [
        Row(what="HandbookTagger, new notes", unit="notes/s per core", ours=len(fresh) / total, at_least=40.0),
        Row(what="HandbookTagger, all phrase vectors cached", unit="notes/s per core", ours=len(fresh) / cached),
        Row(what="HandbookTagger, encoding of phrases", unit="CPU ms/note", ours=encoding * per_note),
        Row(what="HandbookTagger, finding phrases", unit="CPU ms/note", ours=phrases * per_note),
        Row(what="HandbookTagger, scoring and merging", unit="CPU ms/note", ours=max(total - encoding - phrases, 0.0) * per_note),
    ]


def _cpu_of(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
