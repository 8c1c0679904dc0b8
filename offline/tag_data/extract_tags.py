"""Note events to samples with a teacher's tags: media opened once, four steps a note, resumable at any moment.

A directory holds, beside the results, two logs of what is finished (``opened.log``, ``extracted.log``) and the teacher's recorded answers.
The results are written whole from the logs in the order of the notes, so they are the same however often a run was killed.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.roles import NoteMedia
from offline.chat.client import ChatClient
from offline.chat.prices import OverBudget
from offline.json_lines import record_writer
from offline.tag_data.extraction import Extracted, Extraction
from offline.tag_data.keyed_log import KeyedLog
from offline.tag_data.samples import Sample, keep_picture, media_of
from schemas.errors import TagStreamError
from schemas.events import NoteEvent

OPENED_AT_A_TIME = 8
AHEAD = 3  # notes under way per request at a time: one that takes long must not keep the others from being asked about
AWAY_MOST = 3
"""Notes in a row that the teacher gives no answer to, after which the run ends."""


class Opener(Protocol):
    """Of ``consumers.media.opener.MediaOpener``, what is needed here."""

    def open(self, notes: Sequence[NoteEvent]) -> list[NoteMedia]:
        """The media of each note, in order."""
        ...


class Failure(Struct, frozen=True, kw_only=True):
    """A note that has no sample. ``answer``: what could not be used, as the teacher wrote it; ``again``: the next run tries it again."""

    note_id: str
    step: str
    reason: str
    answer: str = ""
    again: bool = False


class Counts(Struct):
    """What came of the notes, in this run and those before. ``again``: failures that the next run tries again; ``not_reached``: notes that
    were not asked about, since the run ended; ``reasons``: of the failures; tokens: of all steps taken."""

    notes: int = 0
    samples: int = 0
    tags: int = 0
    failures: int = 0
    again: int = 0
    not_reached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasons: dict[str, int] = msgspec.field(default_factory=dict)


class ExtractRun:
    """One run over a directory.

    Args:
        directory: of logs and results.
        client: asks the teacher.
        extraction: the steps.
        opener: opens media; None: notes are words alone.
        advance: called after every note.
    """

    def __init__(
        self,
        directory: Path,
        client: ChatClient,
        extraction: Extraction,
        opener: Opener | None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._client = client
        self._extraction = extraction
        self._opener = opener
        self._advance = advance
        self._opened = KeyedLog(directory / "opened.log", Sample)
        self._extracted = KeyedLog(directory / "extracted.log", Extracted)
        self._unanswered: dict[str, TagStreamError] = {}
        self._away = 0
        self.stopped: TagStreamError | None = None

    def run(self, notes: Iterable[NoteEvent]) -> Counts:
        """Asks about every note that is not finished, then writes the results of all; ``stopped`` is why the run ended early, if it did."""
        source, keys = iter(notes), dict[str, str]()
        try:
            with ThreadPoolExecutor(self._client.spec.concurrency, thread_name_prefix="extract") as pool:
                try:
                    self._ask_about(self._remembered(source, keys), pool)
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
                keys.update((key_of(note), note.note_id) for note in source)  # those that were not reached
            return self._write(keys)
        finally:
            self._opened.close()
            self._extracted.close()

    def _ask_about(self, samples: Iterator[tuple[str, Sample]], pool: ThreadPoolExecutor) -> None:
        """Keeps the teacher busy; what came of the notes is taken in their order."""
        under_way: deque[tuple[str, Future[Extracted | TagStreamError]]] = deque()
        most = AHEAD * self._client.spec.concurrency
        for key, sample in samples:
            under_way.append((key, pool.submit(self._asked, sample)))
            while under_way and (len(under_way) >= most or under_way[0][1].done()):
                self._take(*under_way.popleft())
            if self.stopped:
                break
        while under_way and not self.stopped:
            self._take(*under_way.popleft())
        pool.shutdown(cancel_futures=True)
        for key, future in under_way:
            if not future.cancelled():
                self._take(key, future)

    def _asked(self, sample: Sample) -> Extracted | TagStreamError:
        try:
            return self._extraction.extract(sample.note, media_of(sample, self._directory), self._client.ask)
        except TagStreamError as error:
            return error

    def _take(self, key: str, future: "Future[Extracted | TagStreamError]") -> None:
        outcome = future.result()
        if isinstance(outcome, Extracted):
            self._extracted.add(key, outcome)
            self._away = 0
        else:
            self._unanswered[key] = outcome
            self._away += 1
            if self._away >= AWAY_MOST or isinstance(outcome, OverBudget):
                self.stopped = self.stopped or outcome
        self._advance()

    def _remembered(self, notes: Iterator[NoteEvent], keys: dict[str, str]) -> Iterator[tuple[str, Sample]]:
        """Samples without tags of the notes that are not finished, their media open; every note's key goes into ``keys``, once."""
        while batch := list(islice(notes, OPENED_AT_A_TIME)):
            fresh = {key_of(note): note for note in batch if key_of(note) not in keys}
            keys.update((key, note.note_id) for key, note in fresh.items())
            closed = {key: note for key, note in fresh.items() if key not in self._extracted and key not in self._opened}
            self._open(closed)
            for key in fresh:
                if key in self._extracted:
                    self._advance()
                else:
                    yield key, self._opened[key]

    def _open(self, notes: dict[str, NoteEvent]) -> None:
        media = self._opener.open(list(notes.values())) if self._opener and notes else [NoteMedia()] * len(notes)
        for (key, note), seen in zip(notes.items(), media, strict=True):
            pictures = [keep_picture(self._directory, image) for image in seen.images]
            self._opened.add(key, Sample(note=note, pictures=pictures, speech=list(seen.speech), degraded=list(seen.degraded)))

    def _write(self, keys: dict[str, str]) -> Counts:
        """The results, in the order of the notes."""
        counts, reasons = Counts(notes=len(keys)), Counter[str]()
        paths = [self._directory / f"{name}.jsonl" for name in ("samples", "steps", "failures")]
        with record_writer(paths[0]) as samples, record_writer(paths[1]) as steps, record_writer(paths[2]) as failures:
            for key, note_id in keys.items():
                error = self._unanswered.get(key)
                if key not in self._extracted:
                    counts.not_reached += error is None
                    if error is not None:
                        reasons["no answer"] += 1
                        failures(Failure(note_id=note_id, step="", reason=str(error), again=True))
                    continue
                found = self._extracted[key]
                steps(found)
                counts.prompt_tokens += sum(step.prompt_tokens for step in found.steps)
                counts.completion_tokens += sum(step.completion_tokens for step in found.steps)
                if found.failed_at is not None:
                    reasons[f"{found.failed_at}: {found.failed}"] += 1
                    failures(_failure(found))
                    continue
                sample = self._opened[key]
                samples(replace(sample, note=replace(sample.note, category=found.category), tags=found.tags))
                counts.samples += 1
                counts.tags += len(found.tags)
        counts.again, counts.failures = len(self._unanswered), reasons.total()
        counts.reasons = dict(reasons.most_common())
        return counts


def key_of(note: NoteEvent) -> str:
    """Of all that an event says: the same event twice is one note, an update is another one."""
    return hashlib.blake2b(msgspec.json.encode(note, order="deterministic"), digest_size=12).hexdigest()


def _failure(found: Extracted) -> Failure:
    last = found.steps[-1] if found.steps and found.steps[-1].step == found.failed_at else None
    return Failure(note_id=found.note_id, step=found.failed_at or "", reason=found.failed, answer=last.answer if last else "")
