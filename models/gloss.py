"""Vectors for texts whose script a sentence encoder does not know, in the encoder's own space.

An English encoder turns Chinese into unknown or untrained single characters. Instead, a text's vector is
``unit(a * encoder(gloss) + b * sketch)``: the gloss is the text with every term of a bilingual glossary (longest match) in English, and the
sketch is a sum of pseudo-random signs per character n-gram, so that texts sharing characters are close and others nearly orthogonal
(Achlioptas 2003, random projections with signs; Weinberger et al. 2009, feature hashing). ``a`` grows with the share of the text that the
gloss covers: a text no term of which is known is compared by characters only.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Vector = NDArray[np.float32]

CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_CJK = re.compile(f"[{CJK}]")
_WORD = re.compile(rf"[^\W{CJK}]")
GLOSS_SHARE = 0.75
_NGRAM_WEIGHTS = {1: 0.5, 2: 1.0, 3: 1.0}
_SEED = b"tagstream-gloss-1:"


class Gloss(Struct, frozen=True):
    """``text``: what is known of a text, in English and in its order; ``coverage``: the share of its letters that is known, 0 to 1."""

    text: str
    coverage: float


class Glossary:
    """Finds the longest known terms of a text from left to right.

    Args:
        terms: foreign term -> English; keys with surrounding space or no CJK character at all are not used.
    """

    def __init__(self, terms: Mapping[str, str]) -> None:
        self._terms = {term: english for term, english in terms.items() if term == term.strip() and has_cjk(term)}
        self._longest = max(map(len, self._terms), default=0)
        pairs = "\n".join(f"{term}\t{self._terms[term]}" for term in sorted(self._terms))
        self.digest = hashlib.blake2b(pairs.encode(), digest_size=4).hexdigest()

    def gloss(self, text: str) -> Gloss:
        """The text with known terms in English, unknown CJK characters left out and everything else as it is."""
        words: list[str] = []
        known = total = position = 0
        while position < len(text):
            term = self._term_at(text, position)
            if term:
                words.append(f" {self._terms[term]} ")
                known += len(term)
                total += len(term)
                position += len(term)
                continue
            character = text[position]
            if _CJK.match(character):
                words.append(" ")
                total += 1
            else:
                words.append(character)
                is_letter = bool(_WORD.match(character))
                known += is_letter
                total += is_letter
            position += 1
        return Gloss(" ".join("".join(words).split()), known / total if total else 0.0)

    def _term_at(self, text: str, position: int) -> str:
        for length in range(min(self._longest, len(text) - position), 0, -1):
            if text[position : position + length] in self._terms:
                return text[position : position + length]
        return ""


def has_cjk(text: str) -> bool:
    """Whether the text has a Chinese, Japanese or Korean character."""
    return _CJK.search(text) is not None


def sketch_characters(text: str, dimension: int) -> Vector:
    """Unit vector of shape (dimension,) from the character 1- to 3-grams of a text; the same on every machine. Zero for a text of spaces.

    The cosine of two texts is the weighted share of common n-grams, give or take 1 / sqrt(dimension).
    """
    total = np.zeros(dimension, np.float32)
    for gram in _ngrams(text):
        bits = np.frombuffer(hashlib.shake_128(_SEED + gram.encode("utf-8", "surrogatepass")).digest((dimension + 7) // 8), np.uint8)
        signs = np.unpackbits(bits, count=dimension).astype(np.float32) * 2.0 - 1.0
        total += _NGRAM_WEIGHTS[len(gram)] * signs
    return unit(total)


def _ngrams(text: str) -> Iterator[str]:
    for part in dict.fromkeys(text.lower().split()):
        for size in _NGRAM_WEIGHTS:
            yield from (part[start : start + size] for start in range(len(part) - size + 1))


def blend(encoded: Vector | None, sketch: Vector, coverage: float) -> Vector:
    """Unit vector of a text from its encoded gloss (None where nothing is known) and its sketch, both of shape (dimension,)."""
    if encoded is None:
        return sketch
    share = GLOSS_SHARE * coverage
    return unit(math.sqrt(share) * encoded + math.sqrt(1.0 - share) * sketch)


def unit(vector: Vector) -> Vector:
    """The vector at length 1; zero stays zero."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length).astype(np.float32) if length > 0.0 else vector
