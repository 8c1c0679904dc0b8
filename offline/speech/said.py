"""What the simulated community says aloud, as clauses and as whole sentences, and how it is written down."""

import re
from functools import cache
from typing import Literal, NamedTuple

from offline.simulate.catalogue import Language, load_catalogue
from offline.simulate.compose import phrases
from offline.simulate.notes import Community, speakable

Kind = Literal["open", "say", "close", "whole"]
_HALT = re.compile(r"[，。、！？：；,.!?:;\"“”…]+")


class Clause(NamedTuple):
    """One sentence of a note's speech, or all of it (``whole``). ``text``: with punctuation, as it is given to the speaker."""

    language: Language
    kind: Kind
    text: str


@cache
def values(language: Language) -> tuple[str, ...]:
    """All phrases that may be spoken, in the order of the handbook."""
    found = (value for shelf in load_catalogue().shelves.values() for pool in shelf.phrases.values() for value in pool if speakable(value))
    return tuple(dict.fromkeys(value.words.of(language) for value in found))


def frames(language: Language) -> dict[Kind, list[str]]:
    """The sentences around them; those of kind ``say`` have a place ``{v}``."""
    words = phrases(language)
    return {"open": words.speech_open, "say": words.speech, "close": words.speech_close}


def written(text: str, language: Language) -> str:
    """As the model is to write it: lower case, without punctuation; Chinese without spaces.

    >>> written("Hello again, let me keep this short.", "en"), written("请记住，夏日凉鞋。", "zh")
    ('hello again let me keep this short', '请记住夏日凉鞋')
    """
    words = _HALT.sub(" ", text.lower()).split()
    return ("" if language == "zh" else " ").join(words)


def sentences(language: Language, seed: int, count: int) -> list[str]:
    """What the first ``count`` notes of that language that have a voice say, each text once."""
    found: dict[str, None] = {}
    community, index = Community(seed), 0
    while len(found) < count:
        truth = community.note(index).truth
        if truth.spoken and truth.language == language:
            found[truth.spoken] = None
        index += 1
    return list(found)
