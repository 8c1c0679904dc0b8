"""Whole queries on the in-memory twins."""

import random
import threading

import msgspec
import pytest

from recall.channels import CHANNELS, Context
from recall.query import NO_BUNDLE, Query, RecallStores, recall
from recall.reader import KnownNotes, read_reader
from recall.stores import Look, Window
from schemas.errors import Transient
from schemas.settings import Settings

HOUR = 3_600_000


def ids(answer):
    return [result.note_id for result in answer.results]


def removed(answer):
    return {one.note_id: one.reason for one in answer.removed}


@pytest.fixture
def runner(world):
    """A reader who liked one pair of shoes; notes that share tags word for word, are similar, or have nothing to do with them."""
    world.note("liked", "crimson running shoes", "cushioned midsole", age_h=20, category="shoes")
    world.note("exact", "crimson running shoes", "reflective laces", age_h=3, category="shoes")
    world.note("similar", "navy running shoes", "wide toe box", age_h=2, category="shoes")
    world.note("other", "ceramic teapot", "jasmine tea", age_h=1, category="food")
    world.act("u", "like", "liked", age_h=1)
    return world


def test_notes_come_by_how_well_they_match_with_the_newest_at_the_end(runner):
    answer = runner.recall("u")
    assert ids(answer) == ["exact", "similar", "other"]
    assert removed(answer) == {"liked": "seen"}
    assert [part.name for part in answer.results[0].channels] == ["fresh", "tag_embedding", "tag_index_idf"]
    assert answer.degraded == []
    assert answer.profile_tags == 2


def test_reasons_name_profile_tags_note_tags_and_the_actions_behind(runner):
    runner.act("u", "click", "liked", age_h=0)
    exact, similar, other = runner.recall("u", explain=True).results
    best = exact.reasons[0]
    decayed = 2 * 2 ** (-1 / (30 * 24)) + 1
    assert (best.profile_tag, best.note_tag, best.similarity) == ("crimson running shoes", "crimson running shoes", 1.0)
    assert best.score == pytest.approx(decayed)
    assert [(ref.note_id, ref.action) for ref in best.actions] == [("liked", "click"), ("liked", "like")]
    assert [ref.occurred_at - runner_now() for ref in best.actions] == [0, -HOUR]
    near = similar.reasons[0]
    assert (near.profile_tag, near.note_tag) == ("crimson running shoes", "navy running shoes")
    assert 0.5 <= near.similarity < 1
    assert near.score == pytest.approx(decayed * near.similarity, rel=1e-3)
    assert all(reason.similarity < 0.5 for reason in other.reasons) and len(other.reasons) <= 1


def runner_now():
    return 1_790_000_000_000


def test_every_reason_holds_for_random_worlds(world):
    """A reason's profile tag has a positive score, its note tag is the note's, its actions are the reader's own on notes with that tag."""
    rng = random.Random(4)
    words = ["crimson", "navy", "running", "trail", "shoes", "tea", "green", "pot", "yoga", "mat"]
    tags = [" ".join(rng.sample(words, 2)) for _ in range(25)]
    notes = {f"n{i}": rng.sample(tags, 4) for i in range(60)}
    for note_id, texts in notes.items():
        world.note(note_id, *texts, age_h=rng.uniform(0.1, 23))
    for _ in range(120):
        world.act(f"u{rng.randrange(4)}", rng.choice(["click", "like", "unlike", "favorite"]), f"n{rng.randrange(30)}", rng.uniform(0, 9))
    reasons = 0
    for user in ("u0", "u1", "u2", "u3"):
        answer = world.recall(user, explain=True, k=10)
        scores = world_scores(world, user)
        assert len(answer.results) == 10
        for result in answer.results:
            assert [reason.score for reason in result.reasons] == sorted((reason.score for reason in result.reasons), reverse=True)
            assert len(result.reasons) <= 5
            for reason in result.reasons:
                reasons += 1
                assert reason.note_tag in notes[result.note_id]
                assert reason.score == pytest.approx(scores[reason.profile_tag] * reason.similarity, rel=1e-3)
                assert reason.actions and all(reason.profile_tag in notes[ref.note_id] for ref in reason.actions)
    assert reasons > 50


def world_scores(world, user):
    from recall.reader import KnownNotes, read_reader

    return read_reader(user, runner_now(), world.profiles, KnownNotes(world.notes), world.settings).liked


def test_without_explain_reasons_are_empty_and_nothing_is_encoded_for_them(runner):
    runner.encoder.calls = 0
    assert all(result.reasons == [] for result in runner.recall("u").results)
    assert runner.encoder.calls == 1
    runner.recall("u", channels=("tag_index", "fresh"))
    assert runner.encoder.calls == 1


def test_what_only_its_age_recalled_has_no_reason(runner):
    assert all(result.reasons == [] for result in runner.recall("u", channels=("fresh",), explain=True).results)
    by_channel = {result.note_id: result.reasons for result in runner.recall("u", channels=("tag_index", "fresh"), explain=True).results}
    assert by_channel["exact"] and by_channel["similar"] == by_channel["other"] == []


def test_a_reader_without_profile_gets_the_newest_notes_and_needs_no_encoder(runner):
    runner.encoder.calls = 0
    answer = runner.recall("nobody", explain=True)
    assert ids(answer) == ["other", "similar", "exact", "liked"]
    assert all([part.name for part in result.channels] == ["fresh"] and result.reasons == [] for result in answer.results)
    assert (runner.encoder.calls, answer.profile_tags) == (0, 0)


def test_a_reader_without_scores_gets_fresh_notes_of_the_own_categories_first(world):
    for number in range(30):
        world.note(f"food{number}", f"dish {number}", age_h=1 + number / 100, category="food")
    world.note("shoes", "boots", age_h=5, category="shoes")
    world.note("shown", "sandals", age_h=6, category="shoes")
    world.act("u", "comment", "shown")
    assert ids(world.recall("u"))[0] == "shoes"
    assert ids(world.recall("nobody"))[0] == "food0"


def test_what_is_left_out_and_why(world):
    world.note("liked", "green tea", fingerprint="same text")
    world.note("mine", "green tea", author="u")
    world.note("gone", "green tea", age_h=2)
    world.note("gone", occurred_at=runner_now(), deleted=True)
    world.note("old", "green tea", age_h=30)
    world.note("repost of liked", "green tea", fingerprint="same text")
    world.note("first", "green tea", age_h=1, fingerprint="x")
    world.note("second", "green tea", age_h=2, fingerprint="x")
    world.note("later", "green tea", age_h=-1)
    world.act("u", "like", "liked")
    world.act("u", "unlike", "liked")
    world.act("u", "click", "liked")
    answer = world.recall("u")
    assert ids(answer) == ["first"]
    assert removed(answer) == {"liked": "seen", "mine": "own", "gone": "deleted", "repost of liked": "duplicate", "second": "duplicate"}
    assert {one.note_id: one.detail for one in answer.removed if one.reason == "duplicate"} == {
        "repost of liked": "liked",
        "second": "first",
    }


def test_impressions_are_left_out_only_when_the_setting_says_so(world):
    world.note("shown", "green tea")
    world.act("u", "impression", "shown")
    assert ids(world.recall("u")) == ["shown"]
    world.settings = Settings(recall_filter_impressions=True)
    world.act("u", "impression", "shown")
    assert removed(world.recall("u")) == {"shown": "seen"}


def test_an_index_entry_whose_record_lost_the_tag_is_no_match(runner):
    """As a process that died between two steps leaves it."""
    runner.notes._index["tag", "crimson running shoes"]["other"] = runner_now() - HOUR
    runner.notes._writes += 1
    assert "other" in runner.notes.look(Look(tags=("crimson running shoes",)), Window(), 9).listed.sums({"crimson running shoes": 1.0}, 9)
    answer = runner.recall("u", channels=("tag_index",))
    assert ids(answer) == ["exact"]
    assert removed(answer) == {"liked": "seen"}


def test_of_equal_sums_the_newest_are_proposed(world):
    """Also of different tags' lists, and by id where the times are equal too."""
    world.note("liked", "green tea", "red wine", age_h=20)
    world.act("u", "like", "liked")
    for age_h in (1, 2, 5):
        world.note(f"green{age_h}", "green tea", age_h=age_h)
    for age_h in (1, 3, 4):
        world.note(f"red{age_h}", "red wine", age_h=age_h)
    reader = read_reader("u", runner_now(), world.profiles, KnownNotes(world.notes), world.settings)
    order = ["liked", "green1", "red1", "green2", "red3", "red4", "green5"]
    for limit, best in ((2, order[1:3]), (4, order[:4]), (6, order[:6]), (9, order)):
        context = Context(reader, Window(), limit, KnownNotes(world.notes), world.index, world.encoder)
        found = [hit.note_id for hit in CHANNELS["tag_index"].candidates(context).hits]
        assert found == best


def test_a_note_that_only_the_vector_index_knows_is_named_unknown(runner):
    runner.note("lost", "crimson running shoes")
    del runner.notes._records["lost"]
    assert removed(runner.recall("u", channels=("tag_embedding",)))["lost"] == "unknown"


def test_as_of_hides_what_was_published_later_and_the_clock_does_not(world):
    world.note("early", "green tea", age_h=5)
    world.note("late", "green tea", age_h=1)
    assert ids(world.recall("u", as_of=runner_now() - 2 * HOUR)) == ["early"]
    world.note("ahead", "green tea", age_h=-10_000_000)
    assert "ahead" in ids(world.recall("u", as_of=None, fresh_within_ms=None))
    assert "ahead" not in ids(world.recall("u", fresh_within_ms=None))


def test_actions_that_wait_for_tags_count_as_soon_as_the_tags_are_there(world):
    world.act("u", "like", "tagged later")
    world.note("match", "green tea", age_h=9)
    world.note("newer", "red wine", age_h=1)
    assert ids(world.recall("u")) == ["newer", "match"]
    world.note("tagged later", "green tea")
    answer = world.recall("u", explain=True)
    assert ids(answer) == ["match", "newer"]
    assert [ref.note_id for ref in answer.results[0].reasons[0].actions] == ["tagged later"]


def test_asks_for_more_when_the_reader_acted_on_most_of_what_matches(world):
    for number in range(300):
        world.note(f"n{number:03}", "green tea", age_h=1 + number / 100)
        if number < 290:
            world.act("u", "click", f"n{number:03}")
    assert ids(world.recall("u", k=5)) == ["n290", "n291", "n292", "n293", "n294"]
    assert len(world.recall("u", k=20).results) == 10
    assert all(reason == "seen" for reason in removed(world.recall("u")).values())


def test_a_channel_that_is_down_is_named_and_the_others_go_on(runner, monkeypatch):
    def down(*_):
        raise Transient("milvus", "connection refused")

    monkeypatch.setattr(runner.index, "search", down)
    answer = runner.recall("u")
    assert answer.degraded == ["tag_embedding: milvus is not available: connection refused"]
    assert ids(answer)[0] == "exact"


def test_without_redis_nothing_can_be_said(runner, monkeypatch):
    def down(*_):
        raise Transient("redis", "connection refused")

    monkeypatch.setattr(runner.profiles, "read", down)
    with pytest.raises(Transient, match="redis"):
        runner.recall("u")


def test_without_an_active_bundle_the_answer_says_so(world):
    world.note("n", "green tea")
    stores = RecallStores(world.profiles, world.notes, world.index, world.settings, None)
    answer = recall(Query(user_id="u"), stores, world.encoder)
    assert (answer.results, answer.degraded) == ([], [NO_BUNDLE])


def test_rare_tags_weigh_more_with_idf(world):
    world.note("liked", "shoes", "welted sole")
    for number in range(50):
        world.note(f"common{number}", "shoes", age_h=1)
    world.note("rare", "welted sole", age_h=9)
    world.act("u", "like", "liked")
    assert ids(world.recall("u", channels=("tag_index_idf",)))[0] == "rare"
    assert ids(world.recall("u", channels=("tag_index",)))[0] != "rare"


def test_the_same_question_gives_the_same_bytes(runner):
    first, second = (msgspec.json.encode(runner.recall("u", explain=True)) for _ in range(2))
    assert first == second
    document = msgspec.json.decode(first)
    assert {"user_id", "as_of", "results", "removed", "degraded"} <= set(document)
    assert document["removed"] == [{"note_id": "liked", "reason": "seen", "detail": ""}]
    assert set(document["results"][0]) >= {"note_id", "score", "channels", "reasons"}
    assert set(document["results"][0]["channels"][0]) == {"name", "rank", "score"}
    assert set(document["results"][0]["reasons"][0]) >= {"profile_tag", "note_tag", "score", "actions"}
    assert set(document["results"][0]["reasons"][0]["actions"][0]) == {"note_id", "action", "occurred_at"}


def test_every_candidate_is_a_result_or_below_k_or_removed(world):
    """With k beyond all candidates, results and removed together are exactly the notes of the window."""
    rng = random.Random(9)
    for number in range(80):
        world.note(
            f"n{number}",
            f"tag {rng.randrange(9)}",
            author=f"u{rng.randrange(9)}",
            fingerprint=f"{rng.randrange(60)}",
            age_h=rng.uniform(0, 20),
        )
    for _ in range(40):
        world.act("u1", "click", f"n{rng.randrange(80)}")
    answer = world.recall("u1", k=500)
    assert sorted([*ids(answer), *removed(answer)]) == sorted(f"n{number}" for number in range(80))


def test_channels_without_vectors_are_asked_while_the_index_searches(runner, monkeypatch):
    """The search does not come back before Redis was asked for everything that the other channels need."""
    asked, search = threading.Event(), runner.index.search
    look = runner.notes.look

    def waiting(*args):
        assert asked.wait(10), "Redis is asked only after the search"
        return search(*args)

    def noticed(*args):
        if args[0].tags:
            asked.set()
        return look(*args)

    monkeypatch.setattr(runner.index, "search", waiting)
    monkeypatch.setattr(runner.notes, "look", noticed)
    assert ids(runner.recall("u")) == ["exact", "similar", "other"]


def test_a_query_reads_no_record_twice_and_looks_a_few_times(runner, monkeypatch):
    """One look for lists, counts and the reader's last notes, one for categories and the best sums' records, one for those of new notes."""
    looks, look = [], runner.notes.look

    def counted(asked, *window):
        looks.append(asked)
        return look(asked, *window)

    monkeypatch.setattr(runner.notes, "look", counted)
    runner.recall("u", channels=("tag_index", "tag_index_idf", "fresh"), explain=True)
    assert sorted(note_id for asked in looks for note_id in asked.notes) == ["exact", "liked", "other", "similar"]
    assert len(looks) == 3
    looks.clear()
    runner.recall("u", channels=("tag_embedding",))
    assert len(looks) == 1
