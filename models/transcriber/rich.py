"""What SenseVoice says about a stretch of sound besides its words: tags in the text, read before anything else is done with it.

Raw output looks like ``<|zh|><|HAPPY|><|Speech|><|withitn|>大家好。``. funasr's own post-processing turns tags into pictographs and drops
the rest, so it is not used.
"""

import re
import unicodedata

from msgspec import Struct, field

LANGUAGES = frozenset(("zh", "en", "yue", "ja", "ko"))
EMOTIONS = frozenset(("HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL", "DISGUSTED", "SURPRISED"))
EVENTS = frozenset(("Speech", "BGM", "Applause", "Laughter", "Cry", "Sneeze", "Breath", "Cough", "Sing", "Speech_Noise"))
TEXT_MAX = 4000
_TAG = re.compile(r"<\|([^|<>]{0,40})\|>")
_REST = re.compile(r"<\||\|>")
_CONTROL = {"Cc", "Cf", "Co", "Cs", "Cn"}


class Rich(Struct, frozen=True):
    """``text`` without tags, on one line. ``language``, ``emotion``: None where the model does not tell; ``events`` in order, each once."""

    text: str
    language: str | None = None
    emotion: str | None = None
    events: list[str] = field(default_factory=list)


def parse_rich(raw: object) -> Rich:
    """Reads raw output. Whatever a model put out, it gives an answer: tags that are not known are dropped, what is no text is empty.

    >>> parse_rich("<|en|><|HAPPY|><|Speech|><|woitn|>hello  there")
    Rich(text='hello there', language='en', emotion='HAPPY', events=['Speech'])
    """
    if not isinstance(raw, str):
        return Rich("")
    language = emotion = None
    events: list[str] = []
    for tag in _TAG.findall(raw):
        if tag in LANGUAGES:
            language = language or tag
        elif tag in EMOTIONS:
            emotion = emotion or tag
        elif tag in EVENTS and tag not in events:
            events.append(tag)
    return Rich(_plain(raw), language, emotion, events)


def _plain(raw: str) -> str:
    text = _TAG.sub(" ", raw)
    while (rest := _REST.sub(" ", text)) != text:
        text = rest
    text = "".join(" " if unicodedata.category(sign) in _CONTROL or sign in "\ufffd\u2047" else sign for sign in text)
    return " ".join(text.split())[:TEXT_MAX].rstrip()
