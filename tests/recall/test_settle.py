"""Garbage collection in a process that answers."""

import gc
from collections.abc import Iterator

import pytest

from recall.settle import YOUNG, settle


@pytest.fixture
def collections() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_loaded_is_left_alone_and_an_answer_brings_no_collection(collections: None) -> None:
    loaded = [[number] for number in range(5_000)]
    settle()
    assert gc.get_freeze_count() >= len(loaded)
    runs = [generation["collections"] for generation in gc.get_stats()]
    answer = [(number, [number]) for number in range(YOUNG // 4)]
    assert [generation["collections"] for generation in gc.get_stats()] == runs
    assert len(answer) == YOUNG // 4
