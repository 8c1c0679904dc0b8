"""Untrusted text made fit to stand in a prompt: one line, capped, without any token of a chat template."""

import re
import unicodedata
from collections.abc import Sequence

_DROPPED = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))
_LIMIT_FACTOR = 4  # characters looked at per character kept: whitespace and invisible ones fall away
_SPACES = re.compile(r"\s+")
_LEFT, _RIGHT = "\u2039", "\u203a"
_BRACKETS = {ord("<"): _LEFT, ord(">"): _RIGHT}


def escaped(text: str, limit: int, specials: Sequence[str] = ()) -> str:
    """At most ``limit`` characters of ``text`` as one line that holds no angle bracket and none of ``specials``.

    Angle brackets, and every character that a tokenizer's normalisation could turn into one, become ``\u2039`` and ``\u203a``: with
    them go all tokens like ``<|im_start|>`` or ``</img>``, and the marks around the fields. Of what is left of ``specials`` (``[INST]``)
    each gets a space after its first character.

    Args:
        text: as it was published; any characters.
        limit: length of the result at most, in code points.
        specials: the special tokens of the tokenizer, as far as they are known.
    """
    kept = "".join(map(_safe, text[: limit * _LIMIT_FACTOR]))
    line = _SPACES.sub(" ", kept).strip()[:limit].rstrip()
    for special in specials:
        line = _broken(line, special)
    return line[:limit]


def _safe(character: str) -> str:
    if character < "\x7f":
        if character >= " ":
            return _LEFT if character == "<" else _RIGHT if character == ">" else character
        return " " if character.isspace() else ""
    if character not in _SAFE:
        found = _safe_wide(character)
        if len(_SAFE) >= 20_000:
            return found
        _SAFE[character] = found
    return _SAFE[character]


def _safe_wide(character: str) -> str:
    if character.isspace():
        return " "
    if unicodedata.category(character) in _DROPPED or character in "\u0338\u20d2":
        return ""  # the last two join with a bracket before them into one sign, and part from it again
    folded = unicodedata.normalize("NFKD", character)
    return folded.translate(_BRACKETS) if "<" in folded or ">" in folded else character


def _broken(line: str, special: str) -> str:
    if len(special) < 2 or not special.strip():
        return line
    apart = f"{special[0]} {special[1:]}"
    while special in line:
        before = line
        line = line.replace(special, apart)
        if line == before:
            return line
    return line


_SAFE: dict[str, str] = {}
