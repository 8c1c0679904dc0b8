"""What the settings ask of an answer, and what a bundle's weights leave of it."""

import pytest

from recall.plan import plan_of
from schemas.errors import BadSetting
from schemas.settings import Settings, load


def test_by_default_nothing_is_asked():
    plan = plan_of(Settings())
    assert (plan.weights, plan.quotas, plan.trade, plan.exploration.impressions) == ({}, {}, 1.0, 0)
    assert plan.channels(("a", "b"), ()) == ("a", "b")


def test_the_setting_goes_over_the_bundles_weights():
    plan = plan_of(Settings(recall_weights="tag_index_idf=0.3, two_tower=2"))
    assert plan.weigh({"tag_index_idf": 0.1, "linear": 1.0}) == {"tag_index_idf": 0.3, "linear": 1.0, "two_tower": 2.0}


def test_a_weight_adds_its_channel_and_0_leaves_it_out():
    plan = plan_of(Settings(recall_weights="tag_index=1,tag_embedding=0,two_tower=1"))
    assert plan.channels(("tag_embedding", "fresh"), ()) == ("fresh", "tag_index")
    assert plan.channels(("tag_embedding", "fresh"), ("two_tower",)) == ("fresh", "tag_index", "two_tower")


def test_settings_come_from_the_environment():
    environ = {"TAGSTREAM_RECALL_DIVERSITY": "0.25", "TAGSTREAM_EXPLORATION_IMPRESSIONS": "7", "TAGSTREAM_EXPLORATION_HOURS": "0.5"}
    plan = plan_of(load(environ))
    assert (plan.trade, plan.exploration.impressions, plan.exploration.slots, plan.exploration.young_ms) == (0.75, 7, 1, 1_800_000)
    with pytest.raises(BadSetting, match="TAGSTREAM_RECALL_DIVERSITY"):
        load({"TAGSTREAM_RECALL_DIVERSITY": "1.5"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("horoscope=1", "'horoscope' is no channel; choose among two_tower, linear"),
        ("fresh", "'fresh' is no weight; write channel=number"),
        ("fresh=much", "'fresh=much' is no weight"),
        ("fresh=-1", "'fresh=-1' is no weight"),
        ("fresh=inf", "'fresh=inf' is no weight"),
        ("fresh=1,fresh=2", "fresh is named twice"),
    ],
)
def test_bad_weights_name_the_fix(text, says):
    with pytest.raises(BadSetting, match="TAGSTREAM_RECALL_WEIGHTS: ") as raised:
        plan_of(Settings(recall_weights=text))
    assert says in str(raised.value)
