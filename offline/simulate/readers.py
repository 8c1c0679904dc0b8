"""Readers of the simulated community: reader u is a function of the seed and of u.

A reader follows one to three categories. In each the reader belongs to a circle and likes about half of what the circle cares about, drawn
things and colours among it, and a few values besides that nobody else need like.
"""

from functools import lru_cache
from typing import NamedTuple

from offline.simulate.catalogue import CIRCLES, Language, Shelf, Value, circle, load_catalogue
from offline.simulate.choice import Key, Shown, match
from offline.simulate.draws import Draws, Stream
from offline.simulate.notes import Community, SimulatedNote
from schemas.events import CATEGORIES, Category

READERS_KEPT = NOTES_KEPT = 20_000
SHARED, OWN = 0.5, 5


class Reader(NamedTuple):
    """``categories``: interest in each category followed, in (0, 1]; ``interests``: in values, by category, dimension and English words."""

    user_id: str
    languages: frozenset[Language]
    categories: dict[Category, float]
    interests: dict[Key, float]


class Facts(NamedTuple):
    """What readers' choices depend on of a note."""

    note_id: str
    author_id: str
    category: Category
    language: Language
    quality: float
    keys: frozenset[Key]
    published_at: int


def facts_of(note: SimulatedNote) -> Facts:
    """The facts of a note."""
    event, truth = note
    keys = frozenset((truth.category, attribute.dimension, attribute.en) for attribute in truth.attributes)
    return Facts(event.note_id, event.author_id, truth.category, truth.language, truth.quality, keys, event.published_at)


@lru_cache(maxsize=NOTES_KEPT)
def facts_at(community: Community, index: int) -> Facts:
    """The facts of note ``index``."""
    return facts_of(community.note(index))


@lru_cache(maxsize=READERS_KEPT)
def reader(seed: int, number: int) -> Reader:
    """Reader ``number``, from 0."""
    draws = Draws(seed, Stream.READER, number)
    first: Language = "en" if draws.chance(0.5) else "zh"
    languages: frozenset[Language] = frozenset({"en", "zh"} if draws.chance(0.25) else {first})
    followed = draws.sample(CATEGORIES, 1 + draws.below(3))
    shelves = load_catalogue().shelves
    interests: dict[Key, float] = {}
    for category in followed:
        cared = circle(seed, category, draws.below(CIRCLES))
        for value in _liked(shelves[category], cared, draws):
            interests[category, value.dimension, value.words.en] = draws.between(0.5, 1.5)
    categories = {category: draws.between(0.4, 1.0) for category in followed}
    return Reader(f"sim-u{number:06d}", languages, categories, interests)


def shown_to(one: Reader, facts: Facts, position: int) -> Shown:
    """A note at a place of a reader's list, as the choice model takes it."""
    return Shown(
        match(one.interests, facts.keys), one.categories.get(facts.category, 0.0), facts.quality, facts.language in one.languages, position
    )


def _liked(shelf: Shelf, cared: dict[str, list[Value]], draws: Draws) -> list[Value]:
    """Values of a category that one reader likes."""
    liked = [value for values in cared.values() for value in values if draws.chance(SHARED)]
    return liked + [draws.choice(shelf.phrases[dimension]) for dimension in draws.sample(list(shelf.phrases), OWN)]
