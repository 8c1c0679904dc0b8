"""What the simulated community talks about: per category what can be drawn, the phrases of the handbook, and made-up products."""

from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from models.handbook import Handbook, load_handbook
from offline.simulate.draws import Draws, Stream
from schemas.errors import BadSetting
from schemas.events import CATEGORIES, Category

CATALOGUE_FILE = Path(__file__).with_name("catalogue.yaml")
PRODUCTS = 60
CIRCLES = 5
PLAIN = "plain"
PLAIN_SHARE = 0.4
Language = Literal["en", "zh"]
Kind = Literal["item", "colour", "pattern", "phrase"]


class Words(Struct, frozen=True, forbid_unknown_fields=True):
    """The same in both languages."""

    en: str
    zh: str

    def of(self, language: Language) -> str:
        """The words of one language."""
        return self.en if language == "en" else self.zh


class Value(NamedTuple):
    """Something that may be true of a note: ``words`` on a dimension of its category's handbook. ``kind`` says whether it can be drawn."""

    kind: Kind
    dimension: str
    words: Words


class Form(Struct, frozen=True, forbid_unknown_fields=True):
    """How what a picture shows is put into words; ``{}`` is the name of the colour or pattern."""

    dimension: str
    en: str
    zh: str


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    items: dict[str, dict[str, Words]]
    colour: Form
    pattern: Form
    card: list[str]


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    colours: dict[str, Words]
    patterns: dict[str, Words]
    brands: list[Words]
    models: list[Words]
    categories: dict[Category, _Entry]


class Shelf(NamedTuple):
    """One category. ``items``, ``colours``, ``patterns``: by their name in the drawings; ``phrases``: by dimension; ``card``: dimensions
    that stand on product cards; ``told``: those told by people."""

    category: Category
    items: dict[str, Value]
    colours: dict[str, Value]
    patterns: dict[str, Value]
    phrases: dict[str, list[Value]]
    card: list[str]
    told: list[str]
    dimension_names: dict[str, Words]


class Product(NamedTuple):
    """A product: what it is (a silhouette), how it looks, and the phrases on its card, each of another dimension."""

    product_id: str
    item: str
    colour: str
    accent: str
    pattern: str
    brand: Words
    model: Words
    number: int
    card: list[Value]


class Catalogue(NamedTuple):
    """Everything there is to talk about."""

    shelves: dict[Category, Shelf]
    brands: list[Words]
    models: list[Words]


@cache
def load_catalogue() -> Catalogue:
    """The catalogue shipped here on the handbook shipped with the models.

    Raises:
        BadSetting: when the file cannot be read or names a dimension that the handbook lacks.
    """
    try:
        file = msgspec.yaml.decode(CATALOGUE_FILE.read_bytes(), type=_File)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{CATALOGUE_FILE.name}: {error}") from None
    handbook = load_handbook()
    missing = [category for category in CATEGORIES if category not in file.categories]
    if missing:
        raise BadSetting(f"{CATALOGUE_FILE.name}: $.categories: {missing[0]} is missing")
    shelves = {category: _shelf(category, file, handbook) for category in CATEGORIES}
    return Catalogue(shelves, file.brands, file.models)


def _shelf(category: Category, file: _File, handbook: Handbook) -> Shelf:
    entry, book = file.categories[category], handbook.category(category)
    names = {dimension.id: Words(dimension.name.en.lower(), dimension.name.zh) for dimension in book.dimensions}
    used = [*entry.items, entry.colour.dimension, entry.pattern.dimension, *entry.card]
    for dimension in used:
        if dimension not in names:
            raise BadSetting(f"{CATALOGUE_FILE.name}: $.categories.{category}: the handbook has no dimension {dimension}")
    items = {shape: Value("item", dimension, words) for dimension, shapes in entry.items.items() for shape, words in shapes.items()}
    drawn = {value.words.en for value in items.values()}
    phrases = {
        dimension.id: [Value("phrase", dimension.id, Words(en, zh)) for en, zh in dimension.examples.items() if en not in drawn]
        for dimension in book.dimensions
    }
    return Shelf(
        category,
        items,
        {name: _put(entry.colour, "colour", words) for name, words in file.colours.items()},
        {name: _put(entry.pattern, "pattern", words) for name, words in file.patterns.items()},
        phrases,
        entry.card,
        [dimension for dimension in names if dimension not in entry.card],
        names,
    )


def _put(form: Form, kind: Kind, words: Words) -> Value:
    return Value(kind, form.dimension, Words(form.en.format(words.en), form.zh.format(words.zh)))


@lru_cache(maxsize=PRODUCTS * len(CATEGORIES))
def product(seed: int, category: Category, number: int) -> Product:
    """One of the ``PRODUCTS`` products of a category."""
    catalogue = load_catalogue()
    shelf = catalogue.shelves[category]
    draws = Draws(seed, Stream.PRODUCT, CATEGORIES.index(category) * PRODUCTS + number)
    colour, accent = draws.sample(list(shelf.colours), 2)
    return Product(
        product_id=f"sim-p-{category}-{number:02d}",
        item=draws.choice(list(shelf.items)),
        colour=colour,
        accent=accent,
        pattern=PLAIN if draws.chance(PLAIN_SHARE) else draws.choice(list(shelf.patterns)),
        brand=draws.choice(catalogue.brands),
        model=draws.choice(catalogue.models),
        number=2 + draws.below(8),
        card=[draws.choice(shelf.phrases[dimension]) for dimension in draws.sample(shelf.card, 2 + draws.below(2))],
    )


@lru_cache(maxsize=CIRCLES * len(CATEGORIES))
def circle(seed: int, category: Category, number: int) -> dict[str, list[Value]]:
    """What one of the ``CIRCLES`` circles of a category cares about: people of a circle like the same few values of each dimension, and
    write about them. By dimension; drawn items and colours come under their dimensions too."""
    shelf = load_catalogue().shelves[category]
    draws = Draws(seed, Stream.CIRCLE, CATEGORIES.index(category) * CIRCLES + number)
    cared = {dimension: draws.sample(values, 3) for dimension, values in shelf.phrases.items()}
    for value in (*draws.sample(list(shelf.items.values()), 2), *draws.sample(list(shelf.colours.values()), 4)):
        cared[value.dimension].append(value)
    return cared
