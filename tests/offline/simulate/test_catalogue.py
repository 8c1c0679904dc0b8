"""The catalogue: whatever it names can be drawn, stands in the handbook and is said in one way only."""

import itertools

import pytest

from models.handbook import load_handbook
from offline.samples.drawing import COLOURS, PATTERNS, silhouettes
from offline.simulate.catalogue import PLAIN, PRODUCTS, load_catalogue, product
from schemas.events import CATEGORIES, Category


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_shelf_can_be_drawn_and_told(category: Category) -> None:
    shelf, book = load_catalogue().shelves[category], load_handbook().category(category)
    assert shelf.items.keys() <= silhouettes().keys()
    assert len(shelf.items) >= 2
    assert shelf.colours.keys() <= COLOURS.keys()
    assert shelf.patterns.keys() <= PATTERNS.keys()
    assert shelf.phrases.keys() == {dimension.id for dimension in book.dimensions} == {*shelf.card, *shelf.told}
    shown = {value.dimension for value in (*shelf.colours.values(), *shelf.patterns.values())}
    for item in shelf.items.values():
        assert len({*shelf.told} - shown - {item.dimension}) >= 3, "people need something to tell that no picture contradicts"
    drawn = [*shelf.items.values(), *shelf.colours.values(), *shelf.patterns.values()]
    for one, other in itertools.combinations([*drawn, *itertools.chain.from_iterable(shelf.phrases.values())], 2):
        if one.dimension == other.dimension:
            assert one.words.en != other.words.en
            assert one.words.zh != other.words.zh


@pytest.mark.parametrize("category", CATEGORIES)
def test_products_differ_and_look_like_something(category: Category) -> None:
    shelf = load_catalogue().shelves[category]
    made = [product(3, category, number) for number in range(PRODUCTS)]
    for one in made:
        assert one.colour != one.accent
        assert one.item in shelf.items
        assert one.pattern == PLAIN or one.pattern in shelf.patterns
        assert len({value.dimension for value in one.card}) == len(one.card) >= 2
    assert len({one.item for one in made}) == len(shelf.items)
    assert len({(one.item, one.colour, one.pattern) for one in made}) > PRODUCTS // 2
    assert made[0] != product(4, category, 0)
