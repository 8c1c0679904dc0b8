"""A plan of what to say where, put into sentences of one language; ``phrases.yaml`` has the sentences."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from offline.simulate.catalogue import Language, Product, Shelf, Value, Words
from offline.simulate.draws import Draws
from schemas import events

PHRASES_FILE = Path(__file__).with_name("phrases.yaml")
LOW_LINES = 3


class Phrases(Struct, frozen=True, forbid_unknown_fields=True):
    """Sentences of one language, by where they stand. ``and_`` joins words on a product card."""

    title_both: list[str]
    title_item: list[str]
    title_value: list[str]
    title_none: list[str]
    item: list[str]
    say: list[str]
    deny: list[str]
    filler: list[str]
    low: list[str]
    speech_open: list[str]
    speech: list[str]
    speech_close: list[str]
    and_: str = msgspec.field(name="and")


class Sayings(NamedTuple):
    """What a note says in words. ``claimed`` and ``denied`` are not true of it; ``on_card`` is None for a note without a product card."""

    item: Value
    item_in_title: bool
    item_in_body: bool
    item_on_card: bool
    headline: Value | None
    body: list[Value]
    on_card: list[Value] | None
    claimed: Value | None
    denied: Value | None
    spoken: list[Value]
    low: bool


class Texts(NamedTuple):
    """The words of a note. ``spoken`` is empty where nobody speaks."""

    title: str
    body: str
    products: list[events.Product]
    spoken: str

    @property
    def product(self) -> str:
        """The card's text, as ``schemas.events.Evidence`` counts positions in it."""
        return " ".join(part for card in self.products for part in (card.name, card.brand, card.description))


@cache
def phrases(language: Language) -> Phrases:
    """The sentences of a language."""
    return msgspec.yaml.decode(PHRASES_FILE.read_bytes(), type=dict[Language, Phrases])[language]


def compose(sayings: Sayings, shelf: Shelf, made: Product, language: Language, draws: Draws) -> Texts:
    """Title, body, product card and what is spoken."""
    words = phrases(language)
    return Texts(
        _title(sayings, words, language, draws),
        _body(sayings, shelf, words, language, draws),
        [] if sayings.on_card is None else [_card(sayings, made, words, language)],
        _speech(sayings, words, language, draws) if sayings.spoken else "",
    )


def says(text: str, words: str) -> bool:
    """Whether ``words`` stand in ``text``, whatever the case; Latin words as whole words."""
    text, words = text.casefold(), words.casefold()
    at = text.find(words)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(words) : at + len(words) + 1]
        if not (_joins(before, words[0]) or _joins(words[-1], after)):
            return True
        at = text.find(words, at + 1)
    return False


def _joins(left: str, right: str) -> bool:
    """Whether two characters belong to one Latin word."""
    return left.isascii() and left.isalnum() and right.isascii() and right.isalnum()


def _title(sayings: Sayings, words: Phrases, language: Language, draws: Draws) -> str:
    head = sayings.headline
    pools = (words.title_none, words.title_value, words.title_item, words.title_both)
    pool = pools[2 * sayings.item_in_title + (head is not None)]
    title = draws.choice(pool).format(item=sayings.item.words.of(language), v=head.words.of(language) if head else "")
    return title[0].upper() + title[1:]


def _body(sayings: Sayings, shelf: Shelf, words: Phrases, language: Language, draws: Draws) -> str:
    lines = [_say(value, shelf.dimension_names, words, language, draws) for value in sayings.body]
    if sayings.claimed:
        lines.append(_say(sayings.claimed, shelf.dimension_names, words, language, draws))
    if sayings.denied:
        lines.append(draws.choice(words.deny).format(v=sayings.denied.words.of(language)))
    lines += draws.sample(words.low, LOW_LINES) if sayings.low else draws.sample(words.filler, 1 + draws.below(3))
    lines = draws.sample(lines, len(lines))
    if sayings.item_in_body:
        lines.insert(0, draws.choice(words.item).format(item=sayings.item.words.of(language)))
    return (" " if language == "en" else "").join(lines)


def _say(value: Value, names: dict[str, Words], words: Phrases, language: Language, draws: Draws) -> str:
    return draws.choice(words.say).format(v=value.words.of(language), d=names[value.dimension].of(language))


def _card(sayings: Sayings, made: Product, words: Phrases, language: Language) -> events.Product:
    gap = " " if language == "en" else ""
    parts = [made.model.of(language), str(made.number)]
    if sayings.item_on_card:
        parts.append(sayings.item.words.of(language))
    values = [value.words.of(language) for value in sayings.on_card or ()]
    return events.Product(name=gap.join(parts), brand=made.brand.of(language), description=words.and_.join(values))


def _speech(sayings: Sayings, words: Phrases, language: Language, draws: Draws) -> str:
    told = [draws.choice(words.speech).format(v=value.words.of(language)) for value in sayings.spoken]
    lines = [draws.choice(words.speech_open), *told, draws.choice(words.speech_close)]
    return (" " if language == "en" else "").join(lines)
