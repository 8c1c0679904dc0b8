"""Untrusted text made plain: normalised, cut, with the way back to the offsets of the original.

Everything here is linear in the length of the text that is looked at, and that length is bounded.
"""

import re
import unicodedata
from typing import Literal

from msgspec import Struct

Language = Literal["en", "zh", "mixed", "other"]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_HAN_RUN = re.compile(f"[{_HAN}]")
_LATIN_RUN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_NOISE = re.compile(
    r"(?:https?://|www\.)[^\s\u3400-\u9fff\uff00-\uffef]{1,2000}"  # addresses of pages
    r"|[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,5}"  # and of people
    r"|<[A-Za-z!/][^<>]{0,400}>"  # markup
    r"|&(?:[A-Za-z]{2,10}|#\d{1,7});"  # entities
    r"|@[\w.-]{1,64}"  # mentions
)
_KEPT_CATEGORIES = frozenset("LMN")
_KEPT_SIGNS = frozenset("'-.&+/%")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": " "})


class PlainText(Struct, frozen=True):
    """Lower-case plain text. ``text[i]`` stems from the character ``offsets[i]`` of the original; everything dropped became a space or
    a line break (``\\n`` ends a phrase, a space only a word)."""

    text: str
    offsets: list[int]


def plain(original: str, limit: int, start: int = 0) -> PlainText:
    """Normalises at most ``limit`` code points of ``original`` from ``start``: NFKC, case folded, no markup, addresses, emoji, invisibles.

    Compatibility forms are folded character by character, so offsets stay exact. Combining marks stay with their letters.
    """
    source = original[start : start + limit].translate(_APOSTROPHES)
    if source.isascii():
        return _plain_ascii(source, start)
    source = _NOISE.sub(lambda found: "\n" * len(found.group()), source)
    characters: list[str] = []
    offsets: list[int] = []
    for position, character in enumerate(source, start):
        for folded in _folded(character):
            characters.append(folded)
            offsets.append(position)
    return PlainText("".join(characters), offsets)


def language_of(text: str) -> Language:
    """The language by script: Chinese characters against Latin words. ``mixed`` where neither has four fifths."""
    han = len(_HAN_RUN.findall(text))
    latin = len(_LATIN_RUN.findall(text))
    if not han and not latin:
        return "other"
    share = han / (han + 2 * latin)
    if share >= 0.5:
        return "zh" if share >= 0.8 else "mixed"
    return "en" if share <= 0.2 else "mixed"


def has_han(text: str) -> bool:
    """Whether the text has a Chinese character."""
    return _HAN_RUN.search(text) is not None


def _plain_ascii(source: str, start: int) -> PlainText:
    source = _NOISE.sub(lambda found: "\n" * len(found.group()), source)
    return PlainText(source.lower().translate(_ASCII), list(range(start, start + len(source))))


def _folded(character: str) -> str:
    if character in _FOLDED:
        return _FOLDED[character]
    folded = "".join(_plain_character(c) for c in unicodedata.normalize("NFKC", character).casefold())
    if len(_FOLDED) < 20_000:
        _FOLDED[character] = folded
    return folded


def _plain_character(character: str) -> str:
    if character in _KEPT_SIGNS:
        return character
    category = unicodedata.category(character)
    if category[0] in _KEPT_CATEGORIES:
        return character
    if category == "Cf":
        return ""
    return " " if category in ("Zs", "Cc") and character not in "\n\r\v\f" else "\n"


_FOLDED: dict[str, str] = {}
_ASCII = {code: _plain_character(chr(code)) for code in range(128)}
