"""How a simulated reader decides about a note that is shown. All of it is in ``utility`` and the three probabilities below it.

    match    = min(MATCH_MAX, sum of the reader's interest in each of the note's true attributes)
    utility  = BASE + W_MATCH * match + W_CATEGORY * category interest + W_QUALITY * (quality - 1/2)
               - W_UNREAD * [in a language the reader does not read] - W_POSITION * ln(1 + position)
    P(click)             = logistic(utility)
    P(like | click)      = logistic(LIKE + LIKE_MATCH * match + LIKE_QUALITY * (quality - 1/2))
    P(favorite | click)  = logistic(FAVORITE + FAVORITE_MATCH * match + FAVORITE_QUALITY * (quality - 1/2))
    dwell after a click  = DWELL_MS * (1/2 + quality) * (1 + match / 2) * a factor in [1/2, 3/2)

``position`` is the place in the list, from 0: the logit choice model of click data with a position bias that acts on looking alone, so it
has no part in what follows a click (examination hypothesis, Richardson et al. 2007). Quality says less before the click than after it.
Like and favorite are independent given the click. Attributes count whatever tells them: readers see pictures and hear voices.
"""

import math
from collections.abc import Set
from typing import NamedTuple

from offline.simulate.draws import Draws
from schemas.events import Category

BASE, W_MATCH, W_CATEGORY, W_QUALITY, W_UNREAD, W_POSITION = -2.6, 0.9, 1.6, 1.0, 3.0, 0.5
LIKE, LIKE_MATCH, LIKE_QUALITY = -1.8, 0.6, 2.0
FAVORITE, FAVORITE_MATCH, FAVORITE_QUALITY = -2.6, 0.7, 1.5
MATCH_MAX = 4.0
DWELL_MS = 12_000

Key = tuple[Category, str, str]


class Shown(NamedTuple):
    """What a choice depends on. ``match`` and ``category``: the reader's interest in what is true of the note, and in its category."""

    match: float
    category: float
    quality: float
    reads: bool
    position: int


class Choice(NamedTuple):
    """What the reader did; without a click the rest is false and 0."""

    click: bool
    like: bool
    favorite: bool
    dwell_ms: int


def match(interests: dict[Key, float], keys: Set[Key]) -> float:
    """The reader's interest in a note's attributes, 0 to ``MATCH_MAX``."""
    return min(MATCH_MAX, math.fsum(interests[key] for key in keys if key in interests))


def utility(shown: Shown) -> float:
    """The logit of a click."""
    return (
        BASE
        + W_MATCH * shown.match
        + W_CATEGORY * shown.category
        + W_QUALITY * (shown.quality - 0.5)
        - (0.0 if shown.reads else W_UNREAD)
        - W_POSITION * math.log1p(shown.position)
    )


def click_probability(shown: Shown) -> float:
    """P(click)."""
    return _logistic(utility(shown))


def like_probability(shown: Shown) -> float:
    """P(like | click)."""
    return _logistic(LIKE + LIKE_MATCH * shown.match + LIKE_QUALITY * (shown.quality - 0.5))


def favorite_probability(shown: Shown) -> float:
    """P(favorite | click)."""
    return _logistic(FAVORITE + FAVORITE_MATCH * shown.match + FAVORITE_QUALITY * (shown.quality - 0.5))


def choose(shown: Shown, draws: Draws) -> Choice:
    """One reader's decision about one note. Takes four numbers whatever comes of them, so that one decision does not shift the next."""
    click, like, favorite, linger = (draws.uniform() for _ in range(4))
    if click >= click_probability(shown):
        return Choice(False, False, False, 0)
    dwell = DWELL_MS * (0.5 + shown.quality) * (1 + shown.match / 2) * (0.5 + linger)
    return Choice(True, like < like_probability(shown), favorite < favorite_probability(shown), int(dwell))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
