"""How well a transcriber hears the simulated community's voices that did not train the demo model: from sound to text, as in service."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from models.roles import Transcriber, Utterance
from models.transcriber.distance import error_rate
from models.transcriber.load import open_transcriber, transcriber_directory
from models.transcriber.rich import LANGUAGES as TOLD
from offline.simulate.catalogue import Language
from offline.speech.render import LANGUAGES, spoken_sound
from offline.speech.said import Clause, sentences, written
from offline.speech.speakers import HELD_OUT, held_out_voice
from schemas.settings import Settings

AT_A_TIME = 20
SEED = 7


class Wrong(Struct, frozen=True):
    """A sentence that was not heard right."""

    voice: str
    said: str
    heard: str


class Said(NamedTuple):
    """A sentence of the test: who says it, its text as the model is to write it, 16,000 samples a second."""

    voice: str
    text: str
    sound: NDArray[np.float32]


class LanguageFigures(Struct, frozen=True):
    """``cer``: edits per character, spaces aside; ``language_told``: share of utterances with the right language."""

    sentences: int
    right: int
    cer: float
    language_told: float
    wrong: list[Wrong] = field(default_factory=list)


class HeardFigures(Struct, frozen=True):
    """``version``: of the transcriber; ``voices``: variants that were heard, none of which trained the demo model."""

    version: str
    seed: int
    voices: list[str]
    languages: dict[str, LanguageFigures]


def evaluate(model: str, count: int, seed: int, tell: Callable[[str], None]) -> HeardFigures:
    """The figures of a model, as the setting ``transcriber_model`` names it.

    Raises:
        MissingPrerequisite: when espeak-ng is not installed.
        BadSetting: when there is no such model.
    """
    hearing = open_transcriber(transcriber_directory(model), Settings())
    found: dict[str, LanguageFigures] = {}
    for language in LANGUAGES:
        found[language] = _language(hearing, language, count, seed)
        tell(f"{language}: {count} sentences heard")
    return HeardFigures(hearing.version, seed, list(HELD_OUT), found)


def _language(hearing: Transcriber, language: Language, count: int, seed: int) -> LanguageFigures:
    pairs: list[tuple[str, str]] = []
    wrong: list[Wrong] = []
    told: list[bool] = []
    for voice, said, utterances in _heard(hearing, language, count, seed):
        heard = written(" ".join(one.text for one in utterances), language)
        told += [one.language == language for one in utterances if one.language in TOLD]
        pairs.append((said, heard))
        if said != heard:
            wrong.append(Wrong(voice, said, heard))
    share = sum(told) / len(told) if told else 0.0
    return LanguageFigures(count, count - len(wrong), round(error_rate(pairs), 5), round(share, 4), wrong)


def _heard(hearing: Transcriber, language: Language, count: int, seed: int) -> Iterator[tuple[str, str, list[Utterance]]]:
    for first in range(0, count, AT_A_TIME):
        chosen = list(spoken_test(language, range(first, min(first + AT_A_TIME, count)), seed))
        for said, utterances in zip(chosen, hearing.transcribe([one.sound for one in chosen]), strict=True):
            yield said.voice, said.text, utterances


def spoken_test(language: Language, numbers: range, seed: int = SEED) -> Iterator[Said]:
    """Those sentences of the test, as they sound.

    Raises:
        MissingPrerequisite: when espeak-ng is not installed.
    """
    texts = sentences(language, seed + 1, numbers.stop)
    with tempfile.TemporaryDirectory() as scratch:
        for number in numbers:
            voice, clause = held_out_voice(language, number, seed), Clause(language, "say", texts[number])
            yield Said(voice.name, written(clause.text, language), spoken_sound(clause, voice, Path(scratch, "spoken.wav")))
