"""Voices of the simulated community, by espeak-ng, where it is installed. Chinese is given as pinyin: espeak-ng spells Hanzi in English."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from offline.simulate.catalogue import Language
from offline.simulate.truth import Voice
from offline.whole_file import whole_file
from schemas.errors import MissingPrerequisite

ESPEAK = "espeak-ng"
REMEDY = "espeak-ng is not installed (Debian, Ubuntu: apt-get install espeak-ng)"
SPEAK_S = 60
_HALTS = str.maketrans({"，": ", ", "。": ". ", "、": ", ", "！": "! ", "？": "? ", "：": ", "})


@cache
def espeak() -> str | None:
    """Where espeak-ng is; None where it is not installed."""
    return shutil.which(ESPEAK)


def speak(text: str, language: Language, voice: Voice, path: Path) -> None:
    """Writes the spoken text as a WAV file, 22.05 kHz mono, 16 bit. It appears under its name when it is whole.

    Raises:
        MissingPrerequisite: when espeak-ng is not installed or does not know the voice.
    """
    program = espeak()
    if program is None:
        raise MissingPrerequisite(REMEDY)
    if voice.name.partition("+")[0] not in _languages(program):
        raise MissingPrerequisite(f"this espeak-ng has no voice {voice.name}; it would speak with another one. Install espeak-ng-data")
    with whole_file(path) as part:
        command = [program, "-v", voice.name, "-p", str(voice.pitch), "-s", str(voice.speed), "-w", str(part)]
        done = subprocess.run(
            command, input=pinyin(text) if language == "zh" else text, text=True, capture_output=True, timeout=SPEAK_S, check=False
        )
        if done.returncode or not part.exists():
            raise MissingPrerequisite(f"espeak-ng cannot speak with voice {voice.name}: {done.stderr.strip() or 'no file written'}")


@cache
def _languages(program: str) -> frozenset[str]:
    """The languages that this espeak-ng speaks: of one that it does not know, it says nothing and takes another."""
    listed = subprocess.run([program, "--voices"], text=True, capture_output=True, timeout=SPEAK_S, check=True).stdout
    return frozenset(line.split()[1] for line in listed.splitlines()[1:] if line.strip())


def pinyin(text: str) -> str:
    """Chinese as espeak-ng's ``cmn-latn-pinyin`` reads it: syllables with the tone's number, halts kept.

    >>> pinyin("大家好。")
    'da4 jia1 hao3 .'
    """
    from pypinyin import Style, lazy_pinyin

    syllables = lazy_pinyin(text.translate(_HALTS), style=Style.TONE3, neutral_tone_with_five=True)
    return " ".join(" ".join(syllables).split())
