"""Which tags of a profile met which tags of a note."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profile import ActionRef
from recall.explain import ACTIONS_MAX, REASONS_MAX, Similarity, explain

ANGLES = {"north": 0.0, "north by east": 0.2, "north-east": 0.8, "east": 1.5707963, "south": 3.1415927}


class Compass:
    """Unit vectors by angle, so that a cosine is known by its text."""

    dimension = 2
    version = "compass"

    def encode(self, texts):
        return np.array([[np.cos(ANGLES[text]), np.sin(ANGLES[text])] for text in texts], dtype=np.float32)


def pairs(reasons):
    return [(reason.profile_tag, reason.note_tag) for reason in reasons]


def test_equal_texts_count_with_the_whole_profile_score():
    (reason,) = explain(["east", "north"], {"north": 2.5}, {"north": [ActionRef("n", "like", 1)]})
    assert (reason.profile_tag, reason.note_tag, reason.score, reason.similarity) == ("north", "north", 2.5, 1.0)
    assert reason.actions == [ActionRef("n", "like", 1)]


def test_near_texts_count_with_score_times_cosine():
    liked = {"north": 2.0}
    (reason,) = explain(["north-east"], liked, {}, Similarity(Compass(), liked, ["north-east"]))
    assert pairs([reason]) == [("north", "north-east")]
    assert reason.score == pytest.approx(2 * np.cos(0.8))
    assert reason.similarity == pytest.approx(np.cos(0.8), abs=1e-4)


def test_a_strong_profile_tag_that_is_far_does_not_hide_a_near_one():
    liked = {"east": 10.0, "north": 1.0}
    (reason,) = explain(["north by east"], liked, {}, Similarity(Compass(), liked, ["north by east"]))
    assert pairs([reason]) == [("north", "north by east")]


def test_far_pairs_are_a_reason_only_where_there_is_no_other_and_opposite_ones_never():
    liked = {"east": 3.0}
    similarity = Similarity(Compass(), liked, ["north by east", "north-east", "south"])
    assert pairs(explain(["north by east", "north-east"], liked, {}, similarity)) == [("east", "north-east")]
    assert pairs(explain(["north by east"], liked, {}, similarity)) == [("east", "north by east")]
    assert explain(["south"], {"north": 1.0}, {}, Similarity(Compass(), {"north": 1.0}, ["south"])) == []


def test_without_the_embedding_channel_only_equal_texts_count():
    assert explain(["north by east"], {"north": 1.0}, {}) == []


def test_at_most_five_reasons_with_five_actions_each():
    liked = {f"t{number}": float(number) for number in range(1, 9)}
    actions = {text: [ActionRef(f"n{number}", "click", number) for number in range(9)] for text in liked}
    reasons = explain(list(liked), liked, actions)
    assert pairs(reasons) == [(f"t{number}", f"t{number}") for number in (8, 7, 6, 5, 4)]
    assert len(reasons) == REASONS_MAX and all(len(reason.actions) == ACTIONS_MAX for reason in reasons)


TAGS = st.sampled_from(sorted(ANGLES))


@given(st.dictionaries(TAGS, st.floats(1e-6, 1e6), min_size=1), st.lists(TAGS, unique=True, min_size=1))
def test_reasons_are_true_sorted_and_one_per_note_tag(liked, note_tags):
    reasons = explain(note_tags, liked, {}, Similarity(Compass(), liked, note_tags))
    assert [reason.score for reason in reasons] == sorted((reason.score for reason in reasons), reverse=True)
    assert len({reason.note_tag for reason in reasons}) == len(reasons)
    for reason in reasons:
        cosine = np.cos(ANGLES[reason.profile_tag] - ANGLES[reason.note_tag])
        assert reason.note_tag in note_tags
        assert 0 < reason.score <= liked[reason.profile_tag] * 1.000001
        assert reason.similarity == pytest.approx(cosine, abs=1e-3)
    assert {reason.note_tag for reason in reasons} >= set(note_tags) & set(liked) or len(reasons) == REASONS_MAX
