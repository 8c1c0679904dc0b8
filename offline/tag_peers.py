"""Plain ways of tagging a note, to see what the handbook adds: tf-idf phrases and the title's own n-grams."""

import math
from collections import Counter
from collections.abc import Sequence

from models.phrases import find_phrases, parts_of
from models.text import has_han
from models.words import Words
from schemas.events import NoteEvent

LONGEST = 3


def ngrams_of(note: NoteEvent, words: Words, title_only: bool = False) -> list[str]:
    """n-grams of one to three words between punctuation and function words, in order, repeated as often as they occur."""
    parts = [part for part in parts_of(note) if not title_only or part.source == "title"]
    found: list[str] = []
    for phrase in find_phrases(parts, words).values():
        if len(phrase.key) <= LONGEST:
            found.extend([phrase.text] * phrase.count)
    return found


def tfidf_phrases(notes: Sequence[NoteEvent], words: Words, count: int) -> list[list[str]]:
    """Per note the phrases of highest tf-idf over all ``notes``; one within another already chosen is passed over."""
    bags = [Counter(ngrams_of(note, words)) for note in notes]
    documents = Counter(text for bag in bags for text in bag)
    answers = []
    for bag in bags:
        ranked = sorted(bag, key=lambda text: (-round(bag[text] * math.log((1 + len(bags)) / documents[text]) * _size(text), 6), text))
        answers.append(_distinct(ranked, count))
    return answers


def title_ngrams(notes: Sequence[NoteEvent], words: Words, count: int) -> list[list[str]]:
    """Per note the first n-grams of its title, longest first at each place."""
    return [_distinct(sorted(ngrams_of(note, words, title_only=True), key=len, reverse=True), count) for note in notes]


def _distinct(ranked: Sequence[str], count: int) -> list[str]:
    chosen: list[str] = []
    for text in ranked:
        if not any(text in other or other in text for other in chosen):
            chosen.append(text)
        if len(chosen) == count:
            break
    return chosen


def _size(text: str) -> float:
    """Longer phrases are rarer, so plain tf-idf would hardly choose single words; the square root keeps that in bounds."""
    return math.sqrt(len(text) / 3 if has_han(text) else len(text.split()))
