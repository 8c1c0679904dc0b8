"""Notes of the simulated community: note i is a function of the seed and of i, so any of them can be made at any time, in any order.

A note is about a product of its category. What is true of it is told in different places: the item, its colour and pattern by pictures and
sometimes in words; properties on the product card; experience in title and body; some things only by a printed label, a shot of the clip or
the voice. Of the notes about one in seven denies something, one in twenty-five contradicts its card, one in nine says little.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from offline.simulate.catalogue import CIRCLES, PLAIN, Catalogue, Language, Product, Shelf, Value, circle, load_catalogue, product
from offline.simulate.catalogue import PRODUCTS as PRODUCTS_A_CATEGORY
from offline.simulate.compose import Sayings, Texts, compose, says
from offline.simulate.draws import Draws, Stream
from offline.simulate.truth import Attribute, Scene, Truth, Untrue, Voice
from schemas.events import CATEGORIES, Category, EvidenceSource, NoteEvent

START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
NOTES_A_DAY = 2000
AUTHORS = 5000
LOW_QUALITY = 0.2
NOTE_PREFIX = "sim-"
LABEL_MAX = 18
CIRCLE_SHARE = 0.6
IMAGE_COUNTS = (0, 1, 1, 1, 2, 2, 2, 3, 3, 3)
ACCENTS: dict[Language, tuple[str, ...]] = {"en": ("en-us", "en-gb", "en-gb-scotland"), "zh": ("cmn-latn-pinyin",)}
SPEAKERS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4")
PROMINENCE: tuple[EvidenceSource, ...] = ("title", "product", "body", "image", "audio", "video")


class SimulatedNote(NamedTuple):
    """A note as it is published, without media URIs, and its truth."""

    event: NoteEvent
    truth: Truth


class Author(NamedTuple):
    """Who writes: mostly on one category, in one language, about what a circle of it cares about, more or less well (``skill`` is the mean
    quality of the notes)."""

    author_id: str
    category: Category
    language: Language
    skill: float
    circle: int


class Community(NamedTuple):
    """A community by its seed. ``start_ms``: epoch ms of the first note; ``notes_a_day``: how densely they follow."""

    seed: int
    start_ms: int = START_MS
    notes_a_day: int = NOTES_A_DAY

    def note(self, index: int) -> SimulatedNote:
        """Note ``index``, from 0."""
        return _note(self, load_catalogue(), index)

    def notes(self, count: int, first: int = 0) -> Iterator[SimulatedNote]:
        """``count`` notes in the order of publishing, one at a time."""
        return (self.note(index) for index in range(first, first + count))

    def slot_ms(self, index: float) -> int:
        """When the slot of a note begins; the note is published within it, so times rise with the index."""
        return self.start_ms + int(index * DAY_MS / self.notes_a_day)

    def published_by(self, at_ms: int) -> int:
        """How many notes are certainly published at a moment."""
        return max(0, int((at_ms - self.start_ms) * self.notes_a_day / DAY_MS))


class _Plan(NamedTuple):
    """What a note is about before it is put into words. ``printed``: on the label; ``companion``: a second item, in the clip only."""

    made: Product
    shelf: Shelf
    sayings: Sayings
    values: list[Value]
    images: int
    clip: bool
    printed: Value | None
    companion: str


def _note(community: Community, catalogue: Catalogue, index: int) -> SimulatedNote:
    draws = Draws(community.seed, Stream.NOTE, index)
    writer = author(community.seed, draws.skewed(AUTHORS))
    category = writer.category if draws.chance(0.8) else draws.choice(CATEGORIES)
    made = product(community.seed, category, draws.skewed(PRODUCTS_A_CATEGORY))
    quality = min(1.0, max(0.0, writer.skill + 0.3 * draws.bell()))
    at = min(community.slot_ms(index + draws.uniform()), community.slot_ms(index + 1))
    fresh = _phrases(catalogue.shelves[category], made, circle(community.seed, category, writer.circle), draws)
    plan = _plan(catalogue.shelves[category], made, fresh, quality < LOW_QUALITY, draws)
    texts = compose(plan.sayings, plan.shelf, made, writer.language, draws)
    note_id = f"{NOTE_PREFIX}{index:07d}"
    event = NoteEvent(
        type="note.published", note_id=note_id, author_id=writer.author_id, occurred_at=at, published_at=at, category=category,
        title=texts.title, body=texts.body, products=texts.products, language=writer.language,
    )  # fmt: skip
    scene = Scene(object=made.item, colour=made.colour, accent=made.accent, pattern=made.pattern, label=_label(plan))
    shots = [scene, scene] if plan.clip else []
    if plan.companion:
        shots.insert(1, Scene(object=plan.companion, colour=made.colour, accent=made.accent, pattern=made.pattern, label=scene.label))
    truth = Truth(
        note_id=note_id, category=category, language=writer.language, quality=round(quality, 3), low_quality=plan.sayings.low,
        product=made.product_id, attributes=_attributes(plan, texts, writer.language), untrue=_untrue(plan),
        images=[scene] * plan.images, shots=shots, spoken=texts.spoken, voice=_voice(writer.language, draws) if texts.spoken else None,
    )  # fmt: skip
    return SimulatedNote(event, truth)


@lru_cache(maxsize=AUTHORS)
def author(seed: int, number: int) -> Author:
    """One of the ``AUTHORS`` authors."""
    draws = Draws(seed, Stream.AUTHOR, number)
    language: Language = "en" if draws.chance(0.5) else "zh"
    return Author(f"sim-a{number}", draws.choice(CATEGORIES), language, draws.between(0.15, 0.95), draws.below(CIRCLES))


def _plan(shelf: Shelf, made: Product, fresh: list[Value], low: bool, draws: Draws) -> _Plan:
    """Decides what is told and where; ``fresh`` is used up from its end."""
    images = min(draws.choice(IMAGE_COUNTS), 1 if low else 3)
    clip, voiced = draws.chance(0.25) and not low, draws.chance(0.2) and not low
    item, seen = shelf.items[made.item], images > 0 or clip
    told = [fresh.pop() for _ in range(1 if low else min(2 + draws.below(3), len(fresh) - 2))]
    spoken = _take(fresh, speakable, 1 + draws.below(2)) if voiced else []
    body = list(told)
    headline = body[0] if draws.chance(0.7) else None
    if headline and len(body) > 1 and draws.chance(0.6):
        body.pop(0)
    card: list[Value] | None = list(made.card) if draws.chance(0.75) else None
    kept = made.card if card is not None else made.card[:1]
    body += [value for value in kept if card is None or draws.chance(0.25)]
    looks = [shelf.colours[made.colour], *([shelf.patterns[made.pattern]] if made.pattern != PLAIN else [])]
    for value in looks:
        if card is not None and draws.chance(0.3):
            card.append(value)
        elif draws.chance(0.2) or not seen:
            body.append(value)
    printed = _take(fresh, _printable, 1) if images and draws.chance(0.35) else []
    companion = draws.choice([name for name in shelf.items if name != made.item]) if clip and draws.chance(0.7) else ""
    values = [item, *looks, *kept, *told, *spoken, *printed, *([shelf.items[companion]] if companion else [])]
    claimed = _claim(shelf, card, values, draws) if card and not low and draws.chance(0.055) else None
    if claimed:
        body = [value for value in body if value.dimension != claimed.dimension]
    denied = _other(shelf, draws.choice(told), values, draws) if draws.chance(0.15) else None
    in_title = draws.chance(0.5)
    on_card = card is not None and draws.chance(0.6)
    in_body = not in_title and (draws.chance(0.4) or not (seen or on_card))
    sayings = Sayings(item, in_title, in_body, on_card, headline, body, card, claimed, denied, spoken, low)
    return _Plan(made, shelf, sayings, values, images, clip, printed[0] if printed else None, companion)


def _phrases(shelf: Shelf, made: Product, cared: dict[str, list[Value]], draws: Draws) -> list[Value]:
    """Phrases for people to tell, each of another dimension: last (to be popped first) those that people tell, before them those of cards
    that this card lacks. Most are what the author's circle cares about.

    Dimensions of what is drawn are left out, since a phrase there could contradict the picture.
    """
    taken = {shelf.items[made.item].dimension, shelf.colours[made.colour].dimension, shelf.patterns["stripe"].dimension}
    taken |= {value.dimension for value in made.card}
    pools = [[one for one in dimensions if one not in taken] for dimensions in (shelf.card, shelf.told)]
    themes = {dimension: [value for value in values if value.kind == "phrase"] for dimension, values in cared.items()}
    return [
        draws.choice((themes if draws.chance(CIRCLE_SHARE) else shelf.phrases)[dimension])
        for pool in pools
        for dimension in draws.sample(pool, len(pool))
    ]


def _take(values: list[Value], fits: Callable[[Value], bool], count: int) -> list[Value]:
    """Takes up to ``count`` fitting values off the end of the list."""
    taken = [value for value in reversed(values) if fits(value)][:count]
    for value in taken:
        values.remove(value)
    return taken


def _claim(shelf: Shelf, card: list[Value], values: list[Value], draws: Draws) -> Value | None:
    """What the body says against the card: another colour, pattern or phrase than one on it."""
    return _other(shelf, draws.choice(card), values, draws)


def _other(shelf: Shelf, value: Value, values: list[Value], draws: Draws) -> Value | None:
    """Another value of the same kind and dimension that shares no wording with any true one."""
    pools = {"item": shelf.items.values(), "colour": shelf.colours.values(), "pattern": shelf.patterns.values()}
    pool = pools.get(value.kind) or shelf.phrases[value.dimension]
    options = [other for other in pool if not any(_overlap(other, true) for true in values)]
    return draws.choice(options) if options else None


def _overlap(left: Value, right: Value) -> bool:
    (a, b), (c, d) = (left.words.en, left.words.zh), (right.words.en, right.words.zh)
    return a in c or c in a or b in d or d in b


def _label(plan: _Plan) -> str:
    """What is printed in the pictures: a phrase that nothing else tells, or the product's name."""
    return plan.printed.words.en.upper() if plan.printed else f"{plan.made.model.en} {plan.made.number}".upper()


def _printable(value: Value) -> bool:
    return len(value.words.en) <= LABEL_MAX and value.words.en.isascii()


def speakable(value: Value) -> bool:
    """Whether both languages are words alone: no digits, no Latin letters in Chinese."""
    return value.words.en.replace(" ", "").replace("-", "").isalpha() and not any(sign.isascii() for sign in value.words.zh)


def _attributes(plan: _Plan, texts: Texts, language: Language) -> list[Attribute]:
    """The values with all that tells them, most prominent first; where text tells one is looked up, so it is so whatever was planned."""
    found = []
    for value in dict.fromkeys(plan.values):
        words = value.words.of(language)
        told: dict[EvidenceSource, bool] = {
            "title": says(texts.title, words),
            "body": says(texts.body, words),
            "product": says(texts.product, words),
            "image": plan.images > 0 and (value is plan.printed or _drawn(value, plan)),
            "video": plan.clip and (value is plan.printed or _drawn(value, plan) or _with(value, plan)),
            "audio": says(texts.spoken, words),
        }
        sources = [source for source in PROMINENCE if told[source]]
        if sources:
            found.append(Attribute(kind=value.kind, dimension=value.dimension, en=value.words.en, zh=value.words.zh, sources=sources))
    return sorted(found, key=lambda attribute: PROMINENCE.index(attribute.sources[0]))


def _drawn(value: Value, plan: _Plan) -> bool:
    """Whether the main object shows it."""
    shelf, made = plan.shelf, plan.made
    shown = (shelf.items[made.item], shelf.colours[made.colour], shelf.patterns.get(made.pattern))
    return any(value is one for one in shown)


def _with(value: Value, plan: _Plan) -> bool:
    return bool(plan.companion) and value is plan.shelf.items[plan.companion]


def _untrue(plan: _Plan) -> list[Untrue]:
    found = []
    for value, denied in ((plan.sayings.claimed, False), (plan.sayings.denied, True)):
        if value:
            true = next((one.words.en for one in plan.values if one.dimension == value.dimension and one.kind == value.kind), "")
            found.append(Untrue(dimension=value.dimension, en=value.words.en, zh=value.words.zh, denied=denied, instead_of=true))
    return found


def _voice(language: Language, draws: Draws) -> Voice:
    name = f"{draws.choice(ACCENTS[language])}+{draws.choice(SPEAKERS)}"
    return Voice(name=name, pitch=25 + draws.below(50), speed=130 + draws.below(60))
