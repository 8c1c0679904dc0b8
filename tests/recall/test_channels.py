"""Candidate sources one by one, on the in-memory twins."""

import math

import pytest

from recall.channels import CHANNELS, Context, Found
from recall.reader import KnownNotes, read_reader
from recall.stores import Window

NOW = 1_790_000_000_000


def propose(world, name, user, limit=10, window=Window()) -> Found:  # noqa: B008 - a NamedTuple
    notes = KnownNotes(world.notes)
    reader = read_reader(user, NOW, world.profiles, notes, world.settings)
    return CHANNELS[name].candidates(Context(reader, window, limit, notes, world.index, world.encoder))


def test_tag_index_sums_the_profile_scores_of_the_shared_tags(world):
    world.note("liked", "green tea", "clay pot")
    world.note("clicked", "green tea")
    world.note("both", "green tea", "clay pot", "bamboo tray")
    world.note("one", "clay pot")
    world.note("none", "red wine")
    world.act("u", "like", "liked", age_h=0)
    world.act("u", "click", "clicked", age_h=0)
    found = propose(world, "tag_index", "u")
    scores = {hit.note_id: hit.score for hit in found.hits}
    assert scores == {"liked": 5.0, "both": 5.0, "clicked": 3.0, "one": 2.0}
    assert [hit.score for hit in found.hits] == [5.0, 5.0, 3.0, 2.0]
    assert not found.more


def test_tag_index_scores_by_the_record_where_the_index_shows_only_a_part(world):
    """Of a tag only the newest notes are listed; the record tells what else a note shares."""
    world.note("liked", "green tea", "clay pot")
    world.note("old", "green tea", "clay pot", age_h=9)
    for number in range(3):
        world.note(f"n{number}", "green tea", age_h=2)
    world.act("u", "like", "liked", age_h=0)
    found = propose(world, "tag_index", "u", limit=3)
    assert ("old", 4.0) in [(hit.note_id, hit.score) for hit in found.hits]
    assert found.more


def test_a_tag_counts_by_its_rarity_among_all_notes_not_among_those_looked_at(world):
    """Beyond the limit a list is cut; the document frequency is not."""
    world.note("liked", "green tea", "clay pot", age_h=9)
    for number in range(7):
        world.note(f"n{number}", "green tea", age_h=2)
    world.note("pot", "clay pot", age_h=3)
    world.act("u", "like", "liked", age_h=0)
    scores = {hit.note_id: hit.score for hit in propose(world, "tag_index_idf", "u", limit=2).hits}
    assert scores == pytest.approx({"liked": 2 * (math.log(10 / 8) + math.log(10 / 2)), "pot": 2 * math.log(10 / 2)})


def test_document_frequencies_of_a_past_moment_know_nothing_later(world):
    world.note("liked", "green tea", age_h=9)
    world.note("match", "green tea", age_h=8)
    for number in range(7):
        world.note(f"n{number}", "green tea", age_h=2)
    world.act("u", "like", "liked", age_h=0)
    (hit, _) = propose(world, "tag_index_idf", "u", window=Window(None, NOW - 5 * 3_600_000)).hits
    assert hit.score == pytest.approx(2 * math.log(3 / 2))


def test_tags_with_negative_scores_propose_nothing(world):
    world.note("liked", "green tea")
    world.note("match", "green tea")
    world.settings = type(world.settings)(profile_weight_click=-1.0)
    world.act("u", "click", "liked")
    assert propose(world, "tag_index", "u") == Found([], False)
    assert propose(world, "tag_embedding", "u") == Found([], False)


def test_tag_embedding_is_the_cosine_to_the_weighted_mean(world):
    world.note("liked", "green tea")
    world.note("same", "green tea")
    world.note("near", "black tea")
    world.act("u", "like", "liked")
    hits = {hit.note_id: hit.score for hit in propose(world, "tag_embedding", "u").hits}
    assert hits["same"] == pytest.approx(1.0, abs=1e-6)
    expected = world.encoder.encode(["green tea"])[0] @ world.encoder.encode(["black tea"])[0]
    assert hits["near"] == pytest.approx(expected, abs=1e-6)


def test_fresh_is_newest_first_and_limited(world):
    for number in range(5):
        world.note(f"n{number}", "tea", age_h=number + 1)
    found = propose(world, "fresh", "nobody", limit=3)
    assert ([hit.note_id for hit in found.hits], found.more) == (["n0", "n1", "n2"], True)
    found = propose(world, "fresh", "nobody", limit=9)
    assert ([hit.note_id for hit in found.hits], found.more) == (["n0", "n1", "n2", "n3", "n4"], False)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_keeps_to_window_and_limit(world, name):
    world.note("liked", "green tea", age_h=50)
    for number in range(8):
        world.note(f"n{number}", "green tea", age_h=number + 1)
    world.act("u", "like", "liked")
    window = Window(NOW - 5 * 3_600_000, NOW - 2 * 3_600_000)
    assert sorted(hit.note_id for hit in propose(world, name, "u", window=window).hits) == ["n1", "n2", "n3", "n4"]
    assert len(propose(world, name, "u", limit=3).hits) == 3
    assert propose(world, name, "u", limit=3).more
