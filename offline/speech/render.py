"""Clauses and sentences spoken by espeak-ng and kept as log mel banks, one file per voice; what is there is not rendered again.

A bank is one byte: quarters of a natural logarithm above -16, about what dither changes in soft places. A second of sound
takes 8,000 bytes before compression, its samples would take 32,000.
"""

import io
import tempfile
import wave
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.sound import SAMPLE_RATE
from models.transcriber.files import FrontEndSpec
from models.transcriber.front_end import mel_banks
from offline.simulate.catalogue import Language
from offline.simulate.draws import Draws, Stream
from offline.simulate.truth import Voice
from offline.simulate.voice import speak
from offline.speech.said import Clause, frames, sentences, values
from offline.speech.speakers import held_out_voice, training_voice, trial_voice
from offline.whole_file import whole_file
from schemas.errors import BadSetting

LANGUAGES: tuple[Language, ...] = ("zh", "en")
MANIFEST = "speech-data.json"
LOWEST, STEPS = -16.0, 4.0
FRAME_RENDERS = 2
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class RenderSpec(Struct, frozen=True, kw_only=True):
    """How much is rendered: ``voices`` of each language; each phrase ``renders`` times, by different voices; ``tests`` sentences of each
    language by voices that do not train, and ``trials`` others by yet other voices, to choose settings by; ``whole`` notes are spoken
    as a whole by each voice that trains. ``phrases`` 0: all of them."""

    seed: int = 7
    voices: int = 24
    renders: int = 3
    tests: int = 100
    trials: int = 100
    phrases: int = 0
    whole: int = 16


class Job(NamedTuple):
    """One file: all that one voice says, or the sentences of the test."""

    path: Path
    said: list[tuple[Clause, Voice]]


class Spoken(NamedTuple):
    """A file read. Clause i is rows ``starts[i]`` to ``starts[i + 1]`` of ``banks`` (frames, mels), as bytes."""

    banks: Bytes
    starts: NDArray[np.int64]
    clauses: list[Clause]
    voices: list[str]


def render(out: Path, spec: RenderSpec, workers: int, tell: Callable[[str], None]) -> None:
    """Renders everything that is not there yet.

    Raises:
        MissingPrerequisite: when espeak-ng is not installed.
        BadSetting: when ``out`` holds data of another spec.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / MANIFEST
    if manifest.exists() and manifest.read_bytes() != msgspec.json.encode(spec):
        raise BadSetting(f"--out: {out} holds speech of other options; name another directory or delete it")
    manifest.write_bytes(msgspec.json.encode(spec))
    jobs = [job for job in plan(out, spec) if not job.path.exists()]
    with ProcessPoolExecutor(workers) as pool:
        for number, name in enumerate(pool.map(_render, jobs), start=1):
            tell(f"{number} of {len(jobs)}: {name}")


def plan(out: Path, spec: RenderSpec) -> list[Job]:
    """What is to be said by whom, and where it goes: the test first, then voice by voice, so that a part of it is of use too."""
    jobs = []
    for language in LANGUAGES:
        dealt = _deal(language, spec)
        voices = [training_voice(language, number, spec.seed) for number in range(spec.voices)]
        jobs += [
            Job(out / f"{language}-{number:03d}.npz", [(clause, voice) for clause in said])
            for number, (voice, said) in enumerate(zip(voices, dealt, strict=True))
        ]
        tests = [Clause(language, "say", text) for text in sentences(language, spec.seed + 1, spec.tests)]
        told = [(clause, held_out_voice(language, number, spec.seed)) for number, clause in enumerate(tests)]
        jobs.append(Job(out / f"test-{language}.npz", told))
        trials = [Clause(language, "say", text) for text in _trials(language, spec, {clause.text for said in dealt for clause in said})]
        tried = [(clause, trial_voice(language, number, spec.seed)) for number, clause in enumerate(trials)]
        jobs.append(Job(out / f"trial-{language}.npz", tried))
    return sorted(jobs, key=lambda job: (not job.path.name.startswith("t"), job.path.stem[-3:], job.path.name))


def _trials(language: Language, spec: RenderSpec, trained: set[str]) -> list[str]:
    """Sentences that neither train nor are in the test."""
    known = trained | set(sentences(language, spec.seed + 1, spec.tests))
    others = (text for text in sentences(language, spec.seed + 3, 2 * spec.trials) if text not in known)
    return list(islice(others, spec.trials))


def _deal(language: Language, spec: RenderSpec) -> list[list[Clause]]:
    """Clauses by voice: every phrase ``renders`` times in some frame, the other frames ``FRAME_RENDERS`` times each."""
    draws = Draws(spec.seed, Stream.MEDIA, (1 << 21) + (language == "zh"))
    around, pool = frames(language), list(values(language))[: spec.phrases or None]
    dealt: list[list[Clause]] = [[] for _ in range(spec.voices)]
    for turn in range(spec.renders):
        for place, value in enumerate(draws.sample(pool, len(pool))):
            clause = Clause(language, "say", draws.choice(around["say"]).format(v=value))
            dealt[(place + turn) % spec.voices].append(clause)
    for said in dealt:
        said += [Clause(language, kind, text) for kind in ("open", "close") for text in around[kind] for _ in range(FRAME_RENDERS)]
    tests = set(sentences(language, spec.seed + 1, spec.tests))
    notes = [text for text in sentences(language, spec.seed + 2, spec.voices * spec.whole + spec.tests) if text not in tests]
    for number, said in enumerate(dealt):
        said += [Clause(language, "whole", text) for text in notes[number * spec.whole : (number + 1) * spec.whole]]
    return dealt


def _render(job: Job) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        banks = [as_bytes(spoken_banks(clause, voice, Path(scratch, "spoken.wav"))) for clause, voice in job.said]
    starts = np.cumsum([0, *(len(item) for item in banks)])
    clauses = np.frombuffer(msgspec.json.encode([list(clause) for clause, _ in job.said]), np.uint8)
    voices = np.frombuffer(msgspec.json.encode([voice.name for _, voice in job.said]), np.uint8)
    with whole_file(job.path) as part:
        np.savez_compressed(part, banks=np.concatenate(banks), starts=starts, clauses=clauses, voices=voices)
    return job.path.name


def _members(path: Path) -> dict[str, bytes]:
    """The arrays of a file that ``render`` wrote, unpacked. Threads may do this, but not parse: numpy parses headers with ``ast``, in which
    two threads of CPython 3.11 trip over each other."""
    try:
        with zipfile.ZipFile(path) as file:
            return {name: file.read(name) for name in file.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise BadSetting(f"--data: {path} is no rendered speech ({type(error).__name__})") from None


def _spoken(path: Path, members: Mapping[str, bytes]) -> Spoken:
    try:
        banks, starts, clauses, voices = (
            np.lib.format.read_array(io.BytesIO(members[f"{name}.npy"])) for name in ("banks", "starts", "clauses", "voices")
        )
        said = msgspec.json.decode(clauses.tobytes(), type=list[tuple[Language, str, str]])
        named = msgspec.json.decode(voices.tobytes(), type=list[str])
        return Spoken(banks, starts, [Clause(*item) for item in said], named)  # type: ignore[arg-type]
    except (ValueError, KeyError, msgspec.DecodeError) as error:
        raise BadSetting(f"--data: {path} is no rendered speech ({type(error).__name__})") from None


def files_of(data: Path, pattern: str) -> Iterator[Spoken]:
    """The files of a directory whose names match.

    Raises:
        BadSetting: when there is none, or one that ``render`` did not write.
    """
    paths = sorted(data.glob(pattern))
    if not paths:
        raise BadSetting(f"--data: {data} has no {pattern}; render it with `tagstream offline demo-models speech-data --out {data}`")
    with ThreadPoolExecutor() as pool:
        unpacked = deque(pool.map(_members, paths))
    return iter([_spoken(path, unpacked.popleft()) for path in paths])


def spoken_sound(clause: Clause, voice: Voice, path: Path) -> Floats:
    """A clause spoken, 16,000 samples a second; ``path`` is for the file in between."""
    from scipy.signal import resample_poly

    speak(clause.text, clause.language, voice, path)
    with wave.open(str(path)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    resampled: Floats = resample_poly(samples.astype(np.float32) / 32_768.0, SAMPLE_RATE, rate).astype(np.float32)
    return np.clip(resampled, -1.0, 1.0)


def spoken_banks(clause: Clause, voice: Voice, path: Path) -> Floats:
    """Log mel banks of a clause, (frames, mels)."""
    return mel_banks(spoken_sound(clause, voice, path), FrontEndSpec())


def as_bytes(banks: Floats) -> Bytes:
    """Log mel banks in quarters above -16."""
    return np.clip(np.round((banks - LOWEST) * STEPS), 0, 255).astype(np.uint8)


def as_banks(held: Bytes) -> Floats:
    """Back to log mel banks."""
    return np.asarray(held, np.float32) / np.float32(STEPS) + np.float32(LOWEST)


def sizes(found: Sequence[Spoken]) -> tuple[int, float]:
    """How many clauses, and how many seconds."""
    return sum(len(item.clauses) for item in found), sum(len(item.banks) for item in found) / 100
