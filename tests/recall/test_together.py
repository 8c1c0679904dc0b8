"""Calls made together give each caller its own answer, in few calls under load and at once when alone."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.roles import ActedNote
from recall.stores import Window
from recall.together import Together, TogetherIndex, TogetherSpace
from tests.models.hashing_space import HashingSpace, write_space
from tests.recall.world import NOW, World


def test_alone_a_call_is_made_at_once() -> None:
    calls: list[Sequence[int]] = []
    double = Together(lambda many: calls.append(many) or [2 * one for one in many], 8)
    assert [double(1), double(2)] == [2, 4]
    assert calls == [[1], [2]]


def test_what_waits_goes_in_one_call_of_at_most_so_many() -> None:
    sizes: list[int] = []
    entered, go = threading.Event(), threading.Event()

    def call(many: Sequence[int]) -> list[int]:
        sizes.append(len(many))
        entered.set()
        assert go.wait(10)
        return [one * one for one in many]

    square = Together(call, 4)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(square, 0)
        assert entered.wait(10)
        others = [pool.submit(square, number) for number in range(1, 10)]
        while len(square._waiting) < 9:
            pass
        go.set()
        assert [one.result(10) for one in [first, *others]] == [number * number for number in range(10)]
    assert sizes == [1, 4, 4, 1]


def test_an_error_reaches_every_caller_of_the_batch_and_nobody_else() -> None:
    def call(many: Sequence[int]) -> list[int]:
        if 13 in many:
            raise ValueError("thirteen")
        return list(many)

    same = Together(call, 1)
    with pytest.raises(ValueError, match="thirteen"):
        same(13)
    assert same(5) == 5


def test_searches_of_many_readers_find_what_each_alone_would(world: World) -> None:
    for number in range(40):
        world.note(f"n{number}", f"tag {number % 7}", f"word {number % 5}", age_h=number)
    together = TogetherIndex(world.index, 16)
    vectors = world.encoder.encode([f"tag {number}" for number in range(7)])
    windows = [Window(NOW - hours * 3_600_000 - hours) for hours in (10, 24, 40)]
    asked = [(vectors[row : row + 1], window) for row in range(7) for window in windows] * 5
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda one: together.search(one[0], 9, one[1])[0], asked))
    for hits, (vector, window) in zip(found, asked, strict=True):
        alone = world.index.search(vector, 9, window)[0]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in alone], abs=1e-5)
        assert all(window.since <= hit.published_at for hit in hits)
    assert len(together.search(vectors, 3, windows[0])) == 7
    assert together.visible(["n1"]) == world.index.visible(["n1"])


def test_readers_of_a_space_come_together_and_stay_apart(tmp_path: Path) -> None:
    space = HashingSpace(write_space(tmp_path / "space", "two_tower"))
    together = TogetherSpace(space, 8)
    histories = [[ActedNote(f"n{number}", 1.0, [f"tag {number}"])] for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda history: together.readers([history])[0], histories))
    assert np.allclose(np.stack(rows), space.readers(histories))
    assert np.array_equal(together.notes([["a"]]), space.notes([["a"]]))
    assert (together.name, together.dimension, together.version) == (space.name, space.dimension, space.version)
