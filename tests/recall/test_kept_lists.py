"""Lists that a process keeps: never older than what the server has, and read again only when somebody wrote."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from recall import kept_lists
from recall.kept_lists import KeptLists
from recall.memory_notes import MemoryNotes
from recall.notes import RedisNotes
from recall.redis_client import redis_client
from recall.stores import Look, Notes, Window
from schemas.keys import Keys
from schemas.stored import NoteRecord
from tests.contract.test_notes import listed, put, record, tombstone

TEXTS = ("boots", "red", "鞋", "wide fit")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tags whose lists were read from the server."""
    texts: list[str] = []
    read = KeptLists._lists

    def counted(self: KeptLists, wanted: Any, *rest: Any) -> Iterator[Any]:
        texts.extend(wanted)
        return read(self, wanted, *rest)

    monkeypatch.setattr(KeptLists, "_lists", counted)
    return texts


def stores(settings: Any) -> tuple[RedisNotes, RedisNotes]:
    """Two processes: who writes and who reads."""
    return tuple(RedisNotes(redis_client(settings), Keys(settings.namespace, "b1")) for _ in range(2))  # type: ignore[return-value]


def everything(notes: Notes, window: Window, limit: int, best: int) -> Any:
    looked = notes.look(Look(tags=TEXTS, counted=TEXTS), window, limit)
    return looked.listed.sums({text: 2.0**place for place, text in enumerate(TEXTS)}, best), looked.listed.cut, looked.counts


def test_a_list_is_read_once_and_again_when_another_process_wrote_to_it(settings: Any, fetched: list[str]) -> None:
    writer, reader = stores(settings)
    put(writer, record("n1", 10, ("boots",)), record("n2", 20, ("red",)))
    for _ in range(3):
        assert (listed(reader, "boots"), listed(reader, "red")) == (["n1"], ["n2"])
    assert fetched == ["boots", "red"]
    put(writer, record("n3", 5, ("boots",)))
    assert (listed(reader, "boots"), listed(reader, "red")) == (["n1", "n3"], ["n2"]), "older than all that was known, and found at once"
    put(writer, tombstone("n1", 30))
    assert (listed(reader, "boots"), listed(reader, "red")) == (["n3"], ["n2"])
    assert fetched == ["boots", "red", "boots", "boots"]
    assert listed(reader, "nothing") == [] and fetched[-1] == "boots", "no note, nothing to read"


def test_any_window_is_a_part_of_the_list_as_it_was_kept(settings: Any, fetched: list[str]) -> None:
    writer, reader = stores(settings)
    put(writer, *(record(f"n{at}", at, ("boots",)) for at in range(1, 9)))
    assert len(listed(reader, "boots", limit=5)) == 5
    assert listed(reader, "boots", Window(since=7), limit=5) == ["n7", "n8"]
    assert listed(reader, "boots", Window(since=7), limit=1) == ["n8"]
    assert fetched == ["boots"]
    assert len(listed(reader, "boots", limit=6)) == 6, "more than what was kept"
    assert len(listed(reader, "boots", Window(since=2), limit=100)) == 7
    assert fetched == ["boots"] * 3
    assert len(listed(reader, "boots", limit=1_000)) == 8 and fetched == ["boots"] * 3, "the whole list is kept by now"
    assert listed(reader, "boots", Window(until=2), limit=5) == ["n1", "n2"], "as of then, from the server"


def test_random_writes_and_looks_agree_with_the_twin(settings: Any) -> None:
    rng = random.Random(11)
    twin = MemoryNotes()
    first, second = stores(settings)
    old = record("old", 2, TEXTS)
    put(twin, old)
    put(first, old)
    for _ in range(150):
        held = [_any_record(rng) for _ in range(rng.randint(0, 3))]
        put(twin, *held)
        put(rng.choice((first, second)), *held)
        window = Window(rng.choice((None, rng.randint(0, 60))), rng.choice((None, None, rng.randint(0, 60))))
        limit, best = rng.choice((0, 1, 3, 50)), rng.randint(1, 5)
        for reader in (first, second):
            assert everything(reader, window, limit, best) == everything(twin, window, limit, best)
    trimmed = first.trim(30)
    assert trimmed == twin.trim(30) > 0
    assert everything(second, Window(), 50, 50) == everything(twin, Window(), 50, 50), "who trims says so too"


def test_no_more_is_kept_than_may_be(settings: Any, monkeypatch: pytest.MonkeyPatch, fetched: list[str]) -> None:
    monkeypatch.setattr(kept_lists, "MEMBERS_KEPT", 3)
    writer, reader = stores(settings)
    put(writer, *(record(f"n{at}", at, ("boots",)) for at in range(1, 6)))
    assert len(listed(reader, "boots")) == len(listed(reader, "boots")) == 5
    assert fetched == ["boots", "boots"], "begun anew"


def test_a_server_that_lost_everything_is_not_answered_from_memory(settings: Any) -> None:
    writer, reader = stores(settings)
    for notes in (("n1", "n2"), ("n3", "n4")):
        for note_id in notes:
            put(writer, record(note_id, 10, ("boots",)))
            assert note_id in listed(reader, "boots")
        assert listed(reader, "boots") == list(notes)
        client = redis_client(settings)
        client.delete(*client.keys(Keys(settings.namespace, "b1").bundle_pattern()))


def test_a_list_without_a_stamp_is_read_each_time(settings: Any, fetched: list[str]) -> None:
    writer, reader = stores(settings)
    put(writer, record("n1", 10, ("boots",)))
    keys = Keys(settings.namespace, "b1")
    client = redis_client(settings)
    client.delete(*keys.stamps(keys.tags(["boots"])))
    client.zadd(keys.tag("boots"), {"n2": 20})
    assert listed(reader, "boots") == ["n1", "n2"]
    client.zadd(keys.tag("boots"), {"n3": 20})
    assert listed(reader, "boots") == ["n1", "n2", "n3"]
    assert fetched == ["boots", "boots"]


def _any_record(rng: random.Random) -> NoteRecord:
    texts = tuple(rng.sample(TEXTS, rng.randint(0, len(TEXTS))))
    at = rng.randint(1, 60)
    return record(f"n{rng.randint(0, 9)}", at, texts, deleted=rng.random() < 0.2 or not texts)
