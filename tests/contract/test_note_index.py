"""One suite for the role ``NoteIndex``: in memory and on Milvus."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from consumers.namespace import drop_namespace
from recall.milvus_client import milvus_client
from recall.note_collections import KINDS, Place
from recall.note_index import MemoryNoteIndex, MilvusNoteIndex, now_ms, window_filter
from recall.stores import NoteIndex, Window
from schemas.errors import BundleMismatch, PoisonBatch, Transient
from schemas.keys import note_key
from schemas.writes import TAG_SPACE, DropVector, PutVector

DIMENSION = 8
SPACES = {"two_tower": 4, "linear": 6}
HOUR = 3_600_000
NOW = now_ms()
OPEN = Window()
DAY = Window(NOW - 24 * HOUR)


def axis(i: int, tilt: float = 0.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[i], vector[(i + 1) % DIMENSION] = 1.0, tilt
    return vector / np.float32(np.linalg.norm(vector))


def put(note_id: str, i: int, published_at: int = NOW, tilt: float = 0.0, occurred_at: int = 1, **fields: Any) -> PutVector:
    vector = fields.pop("vector", axis(i, tilt))
    return PutVector(note_id, "author", fields.pop("category", None), published_at, occurred_at, vector)


def until(answer: Callable[[], Any], wanted: Any, seconds: float = 20.0) -> Any:
    """Bounded reads lag by some milliseconds: asks until the answer is the one wanted, and gives the last one."""
    deadline = time.monotonic() + seconds
    while (found := answer()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def nearest(index: NoteIndex, i: int, window: Window = OPEN, k: int = 3) -> list[str]:
    return [hit.note_id for hit in index.search(np.stack([axis(i)]), k, window)[0]]


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One pair of collections for the whole module (creating one takes a second); every test has ids and axes of its own."""
    stack = request.getfixturevalue("stack")
    settings = msgspec.structs.replace(stack.settings, namespace=f"ni{time.time_ns() % 10**9}")
    index = MilvusNoteIndex(settings, "b1")
    index.create(DIMENSION)
    yield index
    drop_collections(settings, "b1")


@pytest.fixture(scope="module")
def shared_spaces(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The collections of three spaces, likewise; another namespace, because a note is visible only once it is in all."""
    stack = request.getfixturevalue("stack")
    settings = msgspec.structs.replace(stack.settings, namespace=f"ns{time.time_ns() % 10**9}")
    index = MilvusNoteIndex(settings, "b1", spaces=list(SPACES))
    index.create(DIMENSION, SPACES)
    yield index
    drop_collections(settings, "b1", spaces=[TAG_SPACE, *SPACES])


def drop_collections(settings: Any, *bundles: str, spaces: Sequence[str] = (TAG_SPACE,)) -> None:
    client = milvus_client(settings)
    for space, kind in itertools.product(spaces, KINDS):
        client.drop_alias(Place(settings.namespace, space, kind).alias, timeout=10)
        for bundle in bundles:
            client.drop_collection(Place(settings.namespace, space, kind, bundle).name, timeout=10)


@pytest.fixture(params=["memory", "milvus"])
def spaces(request: pytest.FixtureRequest) -> NoteIndex:
    """An index of three spaces; every test has ids of its own."""
    if request.param == "memory":
        return MemoryNoteIndex(DIMENSION, spaces=SPACES)
    return request.getfixturevalue("shared_spaces")  # type: ignore[no-any-return]


@pytest.fixture(params=["memory", "milvus"])
def index(request: pytest.FixtureRequest) -> Iterator[NoteIndex]:
    if request.param == "memory":
        yield MemoryNoteIndex(DIMENSION)
        return
    index = request.getfixturevalue("shared")
    yield index
    client = milvus_client(index._settings)
    for kind in KINDS:
        name = Place(index._settings.namespace, kind=kind, bundle="b1").name
        client.delete(name, filter='pk != ""', timeout=10)
    assert until(lambda: nearest(index, 0), []) == []


def test_an_empty_index_answers_with_nothing(index: NoteIndex) -> None:
    assert index.search(np.stack([axis(0), axis(1)]), 5, OPEN) == [[], []]
    assert index.search(np.zeros((0, DIMENSION), dtype=np.float32), 5, OPEN) == []
    assert index.visible(["nobody"]) == {}
    assert index.visible([]) == {}
    index.upsert([])
    index.drop([])
    index.drop([DropVector("nobody")])


def test_the_vectors_that_are_held_can_be_read(index: NoteIndex, spaces: NoteIndex) -> None:
    index.upsert([put("v1", 2), put("v2", 3, tilt=0.5)])
    assert until(lambda: set(index.visible(["v1", "v2"])), {"v1", "v2"}) == {"v1", "v2"}
    held = index.vectors(["v1", "v2", "nobody"])
    assert set(held) == {"v1", "v2"}
    assert np.allclose(held["v2"], axis(3, 0.5)) and held["v1"].shape == (DIMENSION,)
    assert index.vectors([]) == {} and spaces.vectors(["nobody"], "linear") == {}
    with pytest.raises(BundleMismatch):
        index.vectors(["v1"], "no such space")


def test_the_nearest_come_first_with_their_inner_product(index: NoteIndex) -> None:
    index.upsert([put("far", 4), put("near", 0), put("next", 0, tilt=0.5)])
    assert until(lambda: len(index.visible(["far", "near", "next"])), 3) == 3
    assert nearest(index, 0) == ["near", "next", "far"]
    first, second, third = index.search(np.stack([axis(0)]), 3, DAY)[0]
    assert [hit.note_id for hit in (first, second, third)] == ["near", "next", "far"]
    assert first.score == pytest.approx(1.0, abs=1e-5)
    assert second.score == pytest.approx(1 / np.sqrt(1.25), abs=1e-5)
    assert third.score == pytest.approx(0.0, abs=1e-5)
    assert first.published_at == NOW
    both = index.search(np.stack([axis(0), axis(4)]), 1, OPEN)
    assert [hits[0].note_id for hits in both] == ["near", "far"]
    assert index.search(np.stack([axis(0)]), 0, OPEN) == [[]]
    assert len(index.search(np.stack([axis(0)]), 1_000_000, OPEN)[0]) == 3


@pytest.mark.parametrize("note_id", ['quo"te \\ back', "{b}/s 'x'", "笔记" * 42, "\x00\n"])
def test_any_id_is_found_and_dropped(index: NoteIndex, note_id: str) -> None:
    index.upsert([put(note_id, 0, category="shoes")])
    assert until(lambda: nearest(index, 0), [note_id]) == [note_id]
    assert until(lambda: index.visible([note_id, "other"]), {note_id: 1}) == {note_id: 1}
    index.drop([DropVector(note_id), DropVector(note_id)])
    assert until(lambda: nearest(index, 0), []) == []
    assert index.visible([note_id]) == {}


def test_an_upsert_replaces_and_the_last_of_a_batch_wins(index: NoteIndex) -> None:
    index.upsert([put("n", 0), put("m", 1), put("n", 2)])
    assert until(lambda: len(index.visible(["n", "m"])), 2) == 2
    assert nearest(index, 2, k=1) == ["n"]
    assert sorted(nearest(index, 0, k=9)) == ["m", "n"], "no second row of n"
    index.upsert([put("n", 5, occurred_at=2)])
    assert until(lambda: index.visible(["n"]), {"n": 2}) == {"n": 2}
    assert index.search(np.stack([axis(2)]), 9, DAY)[0][0].score == pytest.approx(0.0, abs=1e-5)
    assert sorted(nearest(index, 5, k=9)) == ["m", "n"]


def test_a_window_holds_at_both_ends(index: NoteIndex) -> None:
    ages = (0, 1, 2, 30, 60, 24 * 400)
    index.upsert([put(f"h{age}", 0, NOW - age * HOUR) for age in ages])
    everything = sorted(f"h{age}" for age in ages)
    assert until(lambda: sorted(index.visible(everything)), everything) == everything
    assert sorted(nearest(index, 0, k=9)) == everything

    def within(since: int | None, until_: int | None) -> list[str]:
        window = Window(None if since is None else NOW - since * HOUR, None if until_ is None else NOW - until_ * HOUR)
        return sorted(nearest(index, 0, window, 9))

    assert within(24, None) == ["h0", "h1", "h2"]
    assert within(2, 1) == ["h1", "h2"]
    assert within(60, 2) == ["h2", "h30", "h60"]
    assert within(None, 30) == ["h30", "h60", "h9600"]
    assert within(1, 2) == []


def test_an_update_may_move_a_note_out_of_the_fresh_ones(index: NoteIndex) -> None:
    index.upsert([put("n", 0)])
    assert until(lambda: nearest(index, 0, DAY), ["n"]) == ["n"]
    index.upsert([put("n", 0, NOW - 100 * HOUR)])
    assert until(lambda: nearest(index, 0, DAY), []) == []
    assert until(lambda: nearest(index, 0), ["n"]) == ["n"]


def test_expire_takes_from_the_fresh_ones_only_and_never_what_a_search_there_relies_on(index: NoteIndex) -> None:
    index.upsert([put("young", 0), put("aging", 0, NOW - 48 * HOUR - HOUR // 2)])
    assert until(lambda: len(index.visible(["aging", "young"])), 2) == 2
    assert index.expire(NOW - 49 * HOUR) == 0
    assert index.expire(NOW + HOUR) == 1
    assert until(lambda: index.expire(NOW + HOUR), 0) == 0
    assert nearest(index, 0, DAY) == ["young"]
    assert sorted(nearest(index, 0)) == ["aging", "young"]


@pytest.mark.parametrize(
    ("vector", "why"),
    [
        (np.ones(DIMENSION + 1, dtype=np.float32), "shape"),
        (np.ones((1, DIMENSION), dtype=np.float32), "shape"),
        (np.full(DIMENSION, np.nan, dtype=np.float32), "finite"),
        (np.array([np.inf] + [0] * (DIMENSION - 1), dtype=np.float32), "finite"),
    ],
)
def test_one_bad_vector_is_named_and_nothing_is_written(index: NoteIndex, vector: Any, why: str) -> None:
    with pytest.raises(PoisonBatch, match=f"'bad'.*{why}"):
        index.upsert([put("good", 0), put("bad", 0, vector=vector)])
    assert index.visible(["good", "bad"]) == {}


def test_a_query_of_another_dimension_names_both(index: NoteIndex) -> None:
    with pytest.raises(BundleMismatch, match=rf"5.*{DIMENSION}"):
        index.search(np.ones((1, 5), dtype=np.float32), 3, OPEN)


def in_spaces(note_id: str, *axes: int, occurred_at: int = 1, published_at: int = NOW) -> list[PutVector]:
    """The note's vectors: one axis in each space, in their order."""
    sizes = {TAG_SPACE: DIMENSION, **SPACES}
    vectors = [np.eye(size, dtype=np.float32)[i] for i, size in zip(axes, sizes.values(), strict=False)]
    return [PutVector(note_id, "a", None, published_at, occurred_at, one, space) for space, one in zip(sizes, vectors, strict=False)]


def found(index: NoteIndex, space: str, i: int, k: int = 1, window: Window = OPEN) -> list[tuple[str, float]]:
    size = {TAG_SPACE: DIMENSION, **SPACES}[space]
    hits = index.search(np.eye(size, dtype=np.float32)[[i]], k, window, space)[0]
    return [(hit.note_id, round(hit.score, 4)) for hit in hits]


@pytest.mark.parametrize("window", [OPEN, DAY])
def test_each_space_is_searched_by_its_own_vectors(spaces: NoteIndex, window: Window) -> None:
    spaces.upsert([*in_spaces("x", 0, 1, 2), *in_spaces("y", 1, 0, 3)])
    assert until(lambda: len(spaces.visible(["x", "y"])), 2) == 2
    assert found(spaces, TAG_SPACE, 0, window=window) == [("x", 1.0)]
    assert found(spaces, "two_tower", 1, window=window) == [("x", 1.0)]
    assert found(spaces, "two_tower", 0, window=window) == [("y", 1.0)]
    assert found(spaces, "linear", 3, window=window) == [("y", 1.0)]
    spaces.drop([DropVector("x"), DropVector("y")])
    for space in (TAG_SPACE, *SPACES):
        assert until(lambda space=space: found(spaces, space, 0), []) == []


def test_visible_means_visible_in_every_space_and_counts_the_earliest_event(spaces: NoteIndex) -> None:
    spaces.upsert(in_spaces("v", 0, 0))
    assert until(lambda: found(spaces, "two_tower", 0), [("v", 1.0)]) == [("v", 1.0)]
    assert spaces.visible(["v"]) == {}, "linear has nothing of it yet"
    spaces.upsert(in_spaces("v", 0, 0, 0))
    assert until(lambda: spaces.visible(["v"]), {"v": 1}) == {"v": 1}
    spaces.upsert(in_spaces("v", 0, 0, occurred_at=2))
    assert until(lambda: found(spaces, "linear", 0), [("v", 1.0)]) == [("v", 1.0)]
    assert spaces.visible(["v"]) == {"v": 1}
    spaces.drop([DropVector("v", "two_tower")])
    assert until(lambda: spaces.visible(["v"]), {}) == {}
    assert found(spaces, "linear", 0) == [("v", 1.0)], "dropped from one space only"
    spaces.drop([DropVector("v")])
    assert until(lambda: found(spaces, "linear", 0), []) == []


def test_one_bad_vector_of_any_space_keeps_all_from_being_written(spaces: NoteIndex) -> None:
    bad = PutVector("bad", "a", None, NOW, 1, np.full(6, np.nan, dtype=np.float32), "linear")
    with pytest.raises(PoisonBatch, match=r"'bad'.*linear.*finite"):
        spaces.upsert([*in_spaces("good", 0, 0, 0), bad])
    with pytest.raises(PoisonBatch, match=r"'bad'.*\(6,\).*\(4,\) in space two_tower"):
        spaces.upsert([*in_spaces("good", 0, 0, 0), msgspec.structs.replace(bad, space="two_tower")])
    for space in (TAG_SPACE, *SPACES):
        assert found(spaces, space, 0) == []


def test_a_space_that_the_bundle_lacks_is_a_mismatch(spaces: NoteIndex) -> None:
    with pytest.raises(BundleMismatch, match="no space video, only tag, two_tower, linear"):
        spaces.search(np.ones((1, 4), dtype=np.float32), 1, OPEN, "video")
    with pytest.raises(BundleMismatch, match="video"):
        spaces.upsert([msgspec.structs.replace(put("n", 0), space="video")])
    with pytest.raises(BundleMismatch, match=r"\(1, 5\), space two_tower of the note index holds \(4,\)"):
        spaces.search(np.ones((1, 5), dtype=np.float32), 1, OPEN, "two_tower")


def test_a_space_of_another_dimension_is_refused(shared_spaces: MilvusNoteIndex) -> None:
    other = MilvusNoteIndex(shared_spaces._settings, "b1", spaces=list(SPACES))
    with pytest.raises(BundleMismatch, match=r"dimension: collection .*two_tower_vectors_b1 holds vectors of 4, space two_tower gives 5"):
        other.create(DIMENSION, SPACES | {"two_tower": 5})


def test_dropping_a_namespace_takes_every_space_and_leaves_its_neighbours(settings: Any) -> None:
    """``NS_x`` is a namespace of its own although its collections' names look like spaces of ``NS``."""
    neighbour = msgspec.structs.replace(settings, namespace=f"{settings.namespace}_x")
    for each in (settings, neighbour):
        MilvusNoteIndex(each, "b1", spaces=["two_tower"]).create(4, {"two_tower": 4})
    drop_namespace(settings)
    client = milvus_client(settings)
    left = [name for name in client.list_collections(timeout=10) if name.startswith(settings.namespace)]
    assert sorted(left) == sorted(
        Place(neighbour.namespace, space, kind, "b1").name for space in (TAG_SPACE, "two_tower") for kind in KINDS
    )
    drop_namespace(neighbour)
    assert not [name for name in client.list_collections(timeout=10) if name.startswith(settings.namespace)]


def test_a_window_becomes_integers_only() -> None:
    assert window_filter(OPEN) == ""
    assert window_filter(Window(1, 2)) == "published_at >= 1 and published_at <= 2"
    with pytest.raises(TypeError):
        window_filter(Window('0 or pk != ""', None))  # type: ignore[arg-type]


def test_many_processes_may_create_at_once_and_bundles_stand_behind_one_alias(settings: Any) -> None:
    """Eight threads of four clients create; a second bundle leaves the alias alone until it is activated; dimensions are compared."""
    makers = [MilvusNoteIndex(settings, "b1") for _ in range(4)]
    failures: list[BaseException] = []

    def make(index: MilvusNoteIndex) -> None:
        try:
            index.create(DIMENSION)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=(index,)) for index in makers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    live, through_alias = makers[0], MilvusNoteIndex(settings, "")
    live.upsert([put("of-b1", 0)])
    assert until(lambda: nearest(through_alias, 0), ["of-b1"]) == ["of-b1"]
    with pytest.raises(BundleMismatch, match=rf"{DIMENSION}.*16"):
        MilvusNoteIndex(settings, "b1").create(16)
    shadow = MilvusNoteIndex(settings, "b2")
    shadow.create(DIMENSION)
    shadow.upsert([put("of-b2", 0)])
    assert until(lambda: nearest(shadow, 0), ["of-b2"]) == ["of-b2"]
    assert nearest(MilvusNoteIndex(settings, ""), 0) == ["of-b1"]
    shadow.activate()
    assert until(lambda: nearest(MilvusNoteIndex(settings, ""), 0), ["of-b2"]) == ["of-b2"]
    assert nearest(live, 0) == ["of-b1"], "the old one stays for rollback"
    with pytest.raises(ValueError, match="alias"):
        through_alias.create(DIMENSION)


def test_the_stored_row(shared: MilvusNoteIndex) -> None:
    shared.upsert([PutVector("row", "me", "shoes", NOW, 7, axis(0))])
    for kind in KINDS:
        name = Place(shared._settings.namespace, kind=kind, bundle="b1").name
        rows = until(
            lambda name=name: milvus_client(shared._settings).get(name, ids=[note_key("row")], output_fields=["*"], timeout=10) != [], True
        )
        assert rows
        (row,) = milvus_client(shared._settings).get(name, ids=[note_key("row")], output_fields=["*"], timeout=10)
        vector = row.pop("vector")
        assert row == {
            "pk": note_key("row"), "note_id": "row", "author_id": "me", "category": "shoes", "published_at": NOW, "occurred_at": 7
        }  # fmt: skip
        assert np.allclose(vector, axis(0))
    shared.drop([DropVector("row")])


def test_a_writer_clears_the_fresh_ones_of_what_has_aged(shared: MilvusNoteIndex) -> None:
    later = NOW + 100 * HOUR
    writer = MilvusNoteIndex(shared._settings, "b1", clock=lambda: later)
    shared.upsert([put("old", 0)])
    assert until(lambda: nearest(shared, 0, DAY), ["old"]) == ["old"]
    writer.upsert([put("new", 0, later)])
    assert until(lambda: nearest(shared, 0, DAY), ["new"]) == ["new"], "searched in the fresh collection: by its own clock old is fresh"
    assert until(lambda: sorted(nearest(writer, 0)), ["new", "old"]) == ["new", "old"], "the main collection keeps all"
    shared.drop([DropVector("old"), DropVector("new")])


def test_a_collection_nobody_made_is_transient(settings: Any) -> None:
    with pytest.raises(Transient, match="milvus"):
        nearest(MilvusNoteIndex(settings, "never"), 0)


def test_a_server_that_is_away_is_transient(settings: Any) -> None:
    away = MilvusNoteIndex(msgspec.structs.replace(settings, milvus_uri="http://127.0.0.1:1"), "b1")
    with pytest.raises(Transient, match="milvus"):
        away.create(DIMENSION)
    with pytest.raises(Transient, match="milvus"):
        away.upsert([put("n", 0)])
