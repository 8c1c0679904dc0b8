"""The learned channels on the in-memory world: what they propose, who gets nothing, which run by default and with what weight."""

import pytest

from recall.learned_channels import choose, default_channels
from schemas.errors import BadSetting
from tests.models.hashing_space import HashingSpace, write_space
from tests.recall.world import NOW, World

SPACES = ("two_tower", "linear")


class CountingSpace(HashingSpace):
    """Counts the readers it was asked for."""

    asked = 0

    def readers(self, histories):
        self.asked += len(histories)
        return super().readers(histories)


@pytest.fixture
def spaces(tmp_path):
    return [CountingSpace(write_space(tmp_path / name, name, 16)) for name in SPACES]


@pytest.fixture
def world(spaces):
    world = World(spaces=spaces)
    for number in range(6):
        world.note(f"tea{number}", "green tea", f"pot {number}", age_h=2)
        world.note(f"shoe{number}", "trail shoes", f"sole {number}", age_h=2)
    return world


def names(result):
    return {part.name for part in result.channels}


def test_the_default_is_the_spaces_first_and_their_notes_come_with_reasons(world):
    world.act("u", "like", "tea0")
    answer = world.recall("u", k=5, explain=True)
    assert {one.note_id for one in answer.results} == {f"tea{number}" for number in range(1, 6)}
    assert all({"two_tower", "linear", "tag_embedding", "tag_index_idf"} <= names(one) for one in answer.results)
    assert all(one.reasons[0].profile_tag == "green tea" for one in answer.results)


@pytest.mark.parametrize("space", SPACES)
def test_scores_are_inner_products_of_the_readers_and_the_notes_vectors(world, spaces, space):
    world.act("u", "like", "tea0", age_h=30 * 24)
    world.act("u", "click", "shoe0", age_h=0)
    answer = world.recall("u", k=100, channels=(space,))
    chosen = next(one for one in spaces if one.name == space)
    reader = chosen.notes([["green tea", "pot 0"]])[0] + chosen.notes([["trail shoes", "sole 0"]])[0]  # a like of weight 2 lost half
    for one in answer.results:
        kind, number = ("tea", "shoe")[one.note_id.startswith("shoe")], one.note_id[-1]
        tags = ["green tea", f"pot {number}"] if kind == "tea" else ["trail shoes", f"sole {number}"]
        assert one.channels[0].score == pytest.approx(float(reader @ chosen.notes([tags])[0]), abs=1e-4)
    assert len(answer.results) == 10
    assert [one.channels[0].rank for one in answer.results] == list(range(1, 11))


def test_a_learned_channel_alone_explains_by_similarity(world):
    world.note("near", "green pot", age_h=1)
    world.act("u", "like", "tea0")
    found = {one.note_id: one for one in world.recall("u", k=50, channels=("two_tower",), explain=True).results}
    assert found["near"].reasons and found["near"].reasons[0].similarity < 1


def test_nothing_for_a_reader_without_a_vector(world, spaces):
    assert world.recall("stranger", channels=SPACES).results == []
    assert [names(one) for one in world.recall("stranger", k=3).results] == [{"fresh"}] * 3
    assert spaces[0].asked == 0, "no history, no inference"
    world.note("bare", age_h=1)
    world.act("only bare", "like", "bare")
    answer = world.recall("only bare", channels=SPACES)
    assert (answer.results, answer.degraded) == ([], [])


def test_one_inference_a_query_and_none_for_channels_not_asked(world, spaces):
    for number in range(6):
        world.act("u", "like", f"tea{number}")
    world.recall("u", k=2000, channels=("two_tower", "tag_index"))
    assert (spaces[0].asked, spaces[1].asked) == (1, 0), "asked again with a higher limit, the vector is kept"


def test_the_history_is_that_of_the_moment_asked_about(world, spaces):
    """Half a half-life later the same history weighs less, alike for every note: the same order with smaller scores."""
    world.act("u", "like", "tea0", age_h=1)
    now, later = (world.recall("u", channels=("linear",), as_of=NOW + days * 86_400_000, fresh_within_ms=None) for days in (0, 30))
    assert [one.note_id for one in now.results] == [one.note_id for one in later.results]
    ratios = [b.channels[0].score / a.channels[0].score for a, b in zip(now.results, later.results, strict=True)]
    assert ratios == pytest.approx([0.5] * len(ratios), rel=0.01)


def test_a_channel_the_bundle_lacks_is_named(world):
    with pytest.raises(BadSetting, match="video is no channel of the live bundle; it has two_tower, linear, tag_embedding"):
        world.recall("u", channels=("video",))
    bare = World()
    with pytest.raises(BadSetting, match="two_tower is no channel of the live bundle; it has tag_embedding"):
        bare.recall("u", channels=("two_tower",))
    assert "two_tower" not in default_channels(bare.spaces, {})


def test_merge_weights_choose_the_channels_and_weigh_them():
    weights = {"linear": 1.0, "two_tower": 2.5, "tag_index_idf": 0.15, "tag_embedding": 0.0}
    chosen = choose(None, ["linear", "two_tower"], weights)
    assert [channel.name for channel in chosen] == ["two_tower", "linear", "tag_index_idf", "fresh"]
    assert [channel.blend.weight for channel in chosen] == [2.5, 1.0, 0.15, 1.0]
    assert chosen[2].blend.absent == 0.0, "all but the weight stays"
    named = choose(("tag_embedding", "two_tower"), ["two_tower"], weights)
    assert [(channel.name, channel.blend.weight) for channel in named] == [("tag_embedding", 1.0), ("two_tower", 2.5)]
    assert [channel.name for channel in choose(None, ["zeta", "linear", "two_tower"], {})] == [
        "two_tower", "linear", "zeta", "tag_embedding", "tag_index_idf", "fresh"
    ]  # fmt: skip


def test_weights_change_the_ranking(tmp_path, spaces):
    """With all weight on one channel the order is that channel's."""
    for first in SPACES:
        world = World(spaces=spaces, weights={name: 1.0 if name == first else 1e-6 for name in SPACES})
        for number in range(8):
            world.note(f"n{number}", "green tea", f"pot {number}", age_h=2)
        world.note("liked", "green tea", "clay pot", age_h=3)
        world.act("u", "like", "liked")
        ranks = [part.rank for one in world.recall("u").results for part in one.channels if part.name == first]
        assert ranks == sorted(ranks)
        assert len(ranks) == 8
