"""The A/B test: the jobs and the recall that serve, honest counts, intervals that mean something."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from offline.cli import offline
from offline.simulate.ab import ARMS, EVERY, Plan, notes_before, run
from offline.simulate.ab_figures import Tally
from offline.simulate.ab_world import World
from offline.simulate.choice import Choice
from offline.simulate.notes import DAY_MS, Community
from offline.simulate.true_tagger import TrueTagger, true_tags
from recall.channels import CHANNELS
from recall.query import Query, recall
from schemas.events import Interaction
from tests.models.hashing_encoder import HashingEncoder
from tests.models.hashing_space import HashingSpace, write_space

COMMUNITY = Community(7, notes_a_day=150)
SMALL = Plan(
    arms={"tag_index": ("tag_index", "fresh"), "same": ("tag_index", "fresh"), "fresh": ("fresh",), "learned": ("two_tower", "fresh")},
    readers=40, warm_days=2, days=1, visits=2, log_readers=80, sessions_each=16.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> HashingSpace:
    return HashingSpace(write_space(tmp_path_factory.mktemp("space") / "two_tower", "two_tower", 32))


@pytest.fixture(scope="module")
def tally(space: HashingSpace) -> Tally:
    return run(COMMUNITY, SMALL, World(list(SMALL.arms), HashingEncoder(), TrueTagger(COMMUNITY), [space]), lambda _: None)


def test_the_arms_are_what_they_say() -> None:
    for arm, channels in ARMS.items():
        assert set(channels or ()) <= {*CHANNELS, "two_tower", "linear"}, arm
    for name in EVERY:
        assert set(ARMS[f"all_but_{name}"] or ()) == set(ARMS["all"] or ()) - {name}


def test_what_is_served_is_what_the_merge_gives_a_weight(space: HashingSpace) -> None:
    plan = replace(SMALL, readers=5, log_readers=20, warm_days=1, arms={"served": None})
    world = World(["served"], HashingEncoder(), TrueTagger(COMMUNITY), [space], {"two_tower": 0.5, "tag_index_idf": 1.0})
    report = run(COMMUNITY, plan, world, lambda _: None).report("served")
    assert set(report["served"]["by_channel"]) == {"two_tower", "tag_index_idf", "fresh"}


def test_every_reader_is_shown_notes_in_every_arm(tally: Tally) -> None:
    report = tally.report("tag_index")
    for arm in SMALL.arms:
        assert report[arm]["impressions"] == SMALL.readers * SMALL.days * SMALL.visits * SMALL.k
        assert set(report[arm]["by_channel"]) == set(SMALL.arms[arm])


def test_equal_arms_come_out_equal(tally: Tally) -> None:
    report = tally.report("tag_index")
    assert report["tag_index"]["against_control"] is None
    assert report["same"] == {**report["tag_index"], "against_control": report["same"]["against_control"]}
    assert all(value == [0.0, 0.0, 0.0] for value in report["same"]["against_control"].values())


def test_interests_found_by_tags_beat_newest_first(tally: Tally) -> None:
    report = tally.report("fresh")
    value, low, _ = report["tag_index"]["against_control"]["pvctr"]
    assert value > low > 0
    assert report["tag_index"]["pvctr"][0] > report["fresh"]["pvctr"][0]


def test_a_second_run_gives_the_same_figures(space: HashingSpace) -> None:
    plan = replace(SMALL, readers=5, log_readers=20, warm_days=1)
    first, again = (
        run(COMMUNITY, plan, World(list(plan.arms), HashingEncoder(), TrueTagger(COMMUNITY), [space]), lambda _: None) for _ in range(2)
    )
    assert first.report("tag_index") == again.report("tag_index")
    assert first.report("tag_index")["tag_index"]["aiu"][0] > 0


def test_actions_of_an_arm_stay_in_its_profiles() -> None:
    world = World(["a", "b"], HashingEncoder(), TrueTagger(COMMUNITY))
    world.now = COMMUNITY.start_ms + DAY_MS
    world.publish(COMMUNITY.notes(150))
    liked = COMMUNITY.note(3)
    event = Interaction(event_id="e", user_id="u", note_id=liked.event.note_id, action="favorite", occurred_at=world.now - 1)
    world.act("a", [event])
    query = Query(user_id="u", as_of=world.now, channels=("tag_index",), explain=True)
    found = recall(query, world.stores("a"), world.encoder)
    assert found.results
    assert {reason.note_tag for result in found.results for reason in result.reasons} <= set(liked.truth.tags())
    assert all(result.published_at <= world.now for result in found.results)
    assert recall(query, world.stores("b"), world.encoder).results == []


def test_only_the_past_is_learned_from() -> None:
    assert notes_before(COMMUNITY, SMALL) == 300
    last = COMMUNITY.note(299).event
    assert last.published_at <= COMMUNITY.start_ms + 2 * DAY_MS


def test_figures_are_the_counts_of_the_readers() -> None:
    tally = Tally(["control", "arm", "silent"], 2)
    for row in (0, 1):
        for _ in range(10):
            tally.add("control", row, ["x"], Choice(False, False, False, 0))
        tally.add("control", row, ["x"], Choice(True, True, False, 3000))
        for _ in range(2):
            tally.add("arm", row, ["x", "y"], Choice(True, True, True, 1000))
    report = tally.report("control")
    assert report["control"]["pvctr"] == pytest.approx([1 / 11] * 3, abs=1e-5)
    assert report["arm"]["pvctr"] == [1.0, 1.0, 1.0]
    assert report["arm"]["pvir"] == [2.0, 2.0, 2.0]
    assert report["arm"]["avdu_ms"] == [2000.0, 2000.0, 2000.0]
    assert report["arm"]["aiu"] == [4.0, 4.0, 4.0]
    assert report["arm"]["against_control"]["pvctr"] == [10.0, 10.0, 10.0]
    assert report["arm"]["by_channel"]["y"]["impressions"] == 4
    assert report["silent"]["pvctr"] is None
    assert report["silent"]["against_control"]["pvctr"] is None
    assert report["silent"]["aiu"] == [0.0, 0.0, 0.0]


def test_an_interval_holds_the_true_rate_about_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(0), 0
    for trial in range(60):
        tally = Tally(["arm"], 40)
        rates = rng.beta(2, 6, 40)
        for row, rate in enumerate(rates):
            for clicked in rng.random(10) < rate:
                tally.add("arm", row, [], Choice(bool(clicked), False, False, 0))
        _, low, high = tally.report("arm", trial)["arm"]["pvctr"]
        inside += low <= 0.25 <= high
    assert 50 <= inside <= 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--arms", "tag_index,magic"], "magic is none of"), (["--readers", "30", "--log-readers", "20"], "more than --log-readers 20")],
)
def test_wrong_usage_is_named(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(offline, ["simulate", "ab", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("choosing", [True, False])
def test_the_learned_channels_are_trained_on_the_log_with_settings_chosen_there(choosing: bool) -> None:
    small = "--arms two_tower,served --control two_tower --readers 4 --log-readers 60 --warm-days 1 --notes-a-day 150 --days 1 --visits 1"
    arguments = ["simulate", "ab", *small.split(), "--json", *([] if choosing else ["--no-choose"])]
    result = CliRunner().invoke(offline, arguments, catch_exceptions=False)
    told = json.loads(result.stdout)
    assert set(told["arms"]) == {"two_tower", "served"}
    assert "two_tower" in told["arms"]["two_tower"]["by_channel"]
    assert ("merge" in told["chosen"]["seen"]) == choosing
    weighed = {name for name, weight in told["chosen"]["weights"].items() if weight > 0}
    assert set(told["arms"]["served"]["by_channel"]) <= {*weighed, "fresh"}
    assert ("two_tower" in result.stderr) == choosing, "progress of choosing"


def test_a_tagger_that_knows_the_truth_says_nothing_else() -> None:
    note = COMMUNITY.note(12)
    answer, gone = TrueTagger(COMMUNITY).tag([note.event, replace(note.event, type="note.deleted")])
    assert [tag.text for tag in answer.tags] == note.truth.tags()
    assert [tag.rank for tag in answer.tags] == list(range(1, len(answer.tags) + 1))
    by_text = {attribute.text(note.truth.language): attribute for attribute in reversed(note.truth.attributes)}
    assert all(by_text[tag.text].dimension == tag.dimension for tag in true_tags(note.truth))
    assert all(tag.evidence[0].source == by_text[tag.text].sources[0] for tag in answer.tags)
    assert (answer.category, gone.tags) == (note.truth.category, [])
