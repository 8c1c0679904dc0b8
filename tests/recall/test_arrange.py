"""Whole queries with quotas, diversity, weights, exploration, and what is said of them; on the in-memory twins."""

import random

import pytest
from msgspec.structs import replace

from recall.exploration_budget import MemoryExplorationBudget
from recall.query import Query, recall
from recall.reader import KnownNotes, read_reader
from schemas.errors import BadSetting, Transient
from schemas.settings import Settings
from tests.models.hashing_space import HashingSpace, write_space
from tests.recall.world import NOW, World


@pytest.fixture
def tea(world):
    """A reader of green tea; forty notes match well, five recent ones share a lesser tag, five newest ones nothing."""
    world.note("liked", "green tea", "clay pot", "bamboo tray", age_h=20)
    world.note("clicked", "ginger root", age_h=20)
    world.act("u", "favorite", "liked")
    world.act("u", "click", "clicked")
    for number in range(40):
        world.note(f"good{number:02}", "green tea", "clay pot", f"own {number}", age_h=10 + number / 10)
    for number in range(5):
        world.note(f"weak{number}", "ginger root", f"soup {number}", age_h=3 + number / 10)
    for number in range(5):
        world.note(f"newest{number}", f"city bike {number}", age_h=number / 10)
    return world


def serve(world, budget, user="u", **asked):
    stores = replace(world.stores, budget=budget)
    return recall(Query(user_id=user, **({"as_of": NOW, "serving": True} | asked)), stores, world.encoder)


def ids(answer):
    return [one.note_id for one in answer.results]


def test_a_minimum_brings_in_a_channels_own_notes_and_says_so(tea):
    plain = ids(tea.recall("u", k=10))
    tea.settings = Settings(recall_quotas="fresh=0.2..")
    answer = tea.recall("u", k=10, explain=True)
    brought = [one for one in answer.results if one.quota]
    assert ids(answer)[:8] == plain[:8]
    assert {one.note_id for one in brought} == {"newest0", "newest1"} and {one.quota for one in brought} == {"fresh"}
    assert brought[0].why["quota"] == "fresh is due at least 20% of the results"


def test_a_maximum_holds_a_channel_down(tea):
    tea.settings = Settings(recall_quotas="fresh=..0.1", recall_weights="fresh=1e6")
    assert sum(one.startswith(("newest", "weak")) for one in ids(tea.recall("u", k=10))) == 1
    tea.settings = Settings(recall_weights="fresh=1e6")
    assert sum(one.startswith(("newest", "weak")) for one in ids(tea.recall("u", k=10))) == 10
    tea.settings = Settings(recall_quotas="fresh=..0.1")
    assert len(tea.recall("nobody", k=10).results) == 10


def test_weights_choose_the_channels(tea):
    tea.settings = Settings(recall_weights="tag_embedding=0,tag_index=2")
    names = {part.name for one in tea.recall("u", k=50).results for part in one.channels}
    assert names == {"tag_index_idf", "tag_index", "fresh"}
    assert {part.name for one in tea.recall("u", channels=("tag_embedding",)).results for part in one.channels} == {"tag_embedding"}


def test_a_setting_that_cannot_be_read_is_said(tea):
    tea.settings = Settings(recall_quotas="fresh=lots..")
    with pytest.raises(BadSetting, match="TAGSTREAM_RECALL_QUOTAS"):
        tea.recall("u")


def test_diversity_brings_other_kinds_of_notes_and_keeps_the_first(tea):
    plain = tea.recall("u", k=12)
    tea.settings = Settings(recall_diversity=0.5)
    mixed = tea.recall("u", k=12)
    kinds = [{tag for one in answer.results for tag in one.tags if not tag.startswith("own ")} for answer in (plain, mixed)]
    assert len(kinds[1]) > len(kinds[0])
    assert ids(mixed)[0] == ids(plain)[0] and len(mixed.results) == 12


def test_only_a_query_that_serves_explores_and_spends(tea):
    tea.settings = Settings(exploration_impressions=2)
    budget = MemoryExplorationBudget(clock=lambda: NOW)
    everything = [f"weak{number}" for number in range(5)]
    plain = serve(tea, budget, k=10, serving=False, explain=True)
    assert all(one.exploration_left is None for one in plain.results) and not any(budget.spent(everything).values())
    answer = serve(tea, budget, k=10, explain=True)
    last = answer.results[-1]
    assert ids(answer)[:9] == ids(plain)[:9] and last.note_id not in ids(plain)
    assert (last.exploration_left, last.channels[-1].name) == (1, "exploration")
    assert last.why["exploration"].endswith("old; 1 of its 2 guaranteed impressions are left after this one")
    assert budget.spent([last.note_id]) == {last.note_id: 1}


def test_every_new_note_gets_its_impressions_and_no_more_and_no_reader_one_twice(tea):
    tea.settings = Settings(exploration_impressions=3, exploration_slots=2)
    for number in range(60):
        tea.act(f"r{number}", "favorite", "clicked")
    budget = MemoryExplorationBudget(clock=lambda: NOW)
    shown = []
    for turn in range(2):
        for number in range(60):
            granted = [one.note_id for one in serve(tea, budget, f"r{number}", k=4).results if one.exploration_left is not None]
            assert len(granted) <= 2, turn
            shown += [(note, f"r{number}") for note in granted]
    assert len(shown) == len(set(shown))
    weak = {f"weak{number}" for number in range(5)}
    in_answer = set(ids(serve(tea, budget, "r0", k=4, serving=False)))
    assert budget.spent(sorted(weak - in_answer)) == dict.fromkeys(sorted(weak - in_answer), 3)
    assert {note for note, _ in shown} <= weak | {"liked"}


def test_exploration_keeps_to_age_window_filters_and_half_the_answer(tea):
    tea.settings = Settings(exploration_impressions=5, exploration_slots=9, exploration_hours=3.25)
    budget = MemoryExplorationBudget(clock=lambda: NOW)
    tea.note("mine", "ginger root", "soup", age_h=3, author="u")
    explored = {one.note_id for one in serve(tea, budget, k=8).results if one.exploration_left is not None}
    assert explored == {"weak0", "weak1", "weak2"}
    assert not [one for one in serve(tea, budget, k=1).results if one.exploration_left is not None]
    assert not [one for one in serve(tea, budget, "nobody", k=8).results if one.exploration_left is not None]
    tea.settings = Settings(exploration_impressions=5, exploration_slots=9)
    assert sum(one.exploration_left is not None for one in serve(tea, budget, k=8).results) == 4


def test_exploration_down_costs_only_exploration(tea, monkeypatch):
    tea.settings = Settings(exploration_impressions=2)
    budget = MemoryExplorationBudget()

    def down(*_):
        raise Transient("redis", "connection refused")

    monkeypatch.setattr(budget, "spent", down)
    answer = serve(tea, budget, k=10)
    assert answer.degraded == ["exploration: redis is not available: connection refused"]
    assert ids(answer) == ids(tea.recall("u", k=10))


def test_every_channel_of_every_result_is_explained_by_what_is_true(tmp_path):
    """A reason's profile tag is in the profile and its note tag among the note's, whatever channels and settings bring a note in."""
    rng = random.Random(5)
    spaces = [HashingSpace(write_space(tmp_path / name, name)) for name in ("two_tower", "linear")]
    world = World(spaces=spaces)
    words = ["crimson", "navy", "running", "trail", "shoes", "tea", "green", "pot", "yoga", "mat"]
    tags = [" ".join(rng.sample(words, 2)) for _ in range(25)]
    notes = {f"n{number}": rng.sample(tags, 4) for number in range(70)}
    for note_id, texts in notes.items():
        world.note(note_id, *texts, age_h=rng.uniform(0.1, 23), category=rng.choice(["shoes", "food", None]))
    for number in range(60):
        world.act(f"u{number % 4}", rng.choice(["click", "like", "favorite"]), f"n{rng.randrange(30)}", rng.uniform(0, 9))
    world.settings = Settings(
        recall_quotas="linear=0.2..,fresh=0.2..0.6", recall_diversity=0.3, exploration_impressions=3, exploration_slots=3
    )
    budget = MemoryExplorationBudget(clock=lambda: NOW)
    channels = set()
    for user in ("u0", "u1", "u2", "u3"):
        answer = serve(world, budget, user, k=10, explain=True)
        profile = read_reader(user, NOW, world.profiles, KnownNotes(world.notes), world.settings).liked
        assert len(answer.results) == 10
        for one in answer.results:
            assert set(one.why) == {part.name for part in one.channels} | ({"quota"} if one.quota else set())
            assert all(one.why.values())
            channels |= set(one.why)
            assert all(reason.profile_tag in profile and reason.note_tag in notes[one.note_id] for reason in one.reasons)
            if set(one.why) & {"two_tower", "linear", "tag_index_idf", "exploration"}:
                assert one.reasons
    assert channels >= {"two_tower", "linear", "tag_embedding", "tag_index_idf", "fresh", "exploration", "quota"}
