"""``tagstream profile`` and ``tagstream recall``: arguments, JSON, exit codes."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import recall.build
from recall import query
from recall.cli import profile
from recall.cli import recall as recall_command
from schemas.errors import Transient

NOW = 1_790_000_000_000


@pytest.fixture
def invoke(world, monkeypatch):
    """Runs a command on the in-memory world."""
    monkeypatch.setattr(recall.build, "open_live", lambda settings: recall.build.Live(world.stores, world.encoder))
    monkeypatch.setattr(recall.build, "open_readers", lambda settings: (world.profiles, world.notes, "b1"))

    def run(command, *arguments):
        return CliRunner().invoke(command, [str(argument) for argument in arguments], standalone_mode=True)

    return run


@pytest.fixture
def reader(world):
    world.note("liked", "green tea", "clay pot", age_h=2)
    world.note("match", "green tea", age_h=3)
    world.act("u 1", "like", "liked", age_h=0)
    world.act("u 1", "click", "not tagged", age_h=0)
    return "u 1"


def test_profile_json(invoke, reader):
    result = invoke(profile, reader, "--as-of", NOW, "-k", 1, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    assert json.loads(result.stdout) == {
        "user_id": "u 1",
        "as_of": NOW,
        "actions": 2,
        "pending": 1,
        "tags": [{"text": "clay pot", "score": 2.0}],
    }


def test_profile_decays_by_the_moment_asked(invoke, reader):
    later = json.loads(invoke(profile, reader, "--as-of", NOW + 30 * 86_400_000, "--json").stdout)
    assert [tag["score"] for tag in later["tags"]] == [1.0, 1.0]


def test_an_unknown_reader_has_an_empty_profile(invoke):
    document = json.loads(invoke(profile, "nobody", "--json").stdout)
    assert (document["actions"], document["pending"], document["tags"]) == (0, 0, [])


def test_recall_json(invoke, reader):
    document = json.loads(invoke(recall_command, reader, "--as-of", NOW, "--explain", "--json").stdout)
    assert (document["user_id"], document["as_of"], document["degraded"]) == ("u 1", NOW, [])
    (result,) = document["results"]
    assert result["note_id"] == "match"
    assert {part["name"]: part["rank"] for part in result["channels"]} == {"fresh": 1, "tag_embedding": 1, "tag_index_idf": 1}
    (reason,) = result["reasons"]
    assert (reason["profile_tag"], reason["note_tag"], reason["score"]) == ("green tea", "green tea", 2.0)
    assert reason["actions"] == [{"note_id": "liked", "action": "like", "occurred_at": NOW}]
    assert [(one["note_id"], one["reason"]) for one in document["removed"]] == [("liked", "seen")]


def test_recall_options_reach_the_query(invoke, world, reader):
    world.note("old", "green tea", age_h=80)

    def ids(*options):
        return [one["note_id"] for one in json.loads(invoke(recall_command, reader, "--as-of", NOW, "--json", *options).stdout)["results"]]

    assert ids() == ["match"]
    assert ids("--fresh-within", "all") == ["match", "old"]
    assert ids("--fresh-within", "4d") == ["match", "old"]
    assert ids("--fresh-within", "all", "-k", 1) == ["match"]
    assert ids("--fresh-within", "1h") == []
    assert ids("--channels", "tag_index,fresh") == ["match"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-k", "-1"], "-1 is not in the range"),
        (["-k", "0"], "0 is not in the range"),
        (["-k", "many"], "not a valid integer"),
        (["--channels", "tag_index,horoscope"], "'horoscope' is no channel; choose among tag_embedding, tag_index"),
        (["--channels", ""], "'' is no channel"),
        (["--fresh-within", "soon"], "'soon' is no duration; write all, or a number and a unit"),
        (["--fresh-within", "-3h"], "'-3h' is no duration"),
        (["--as-of", "-5"], "-5 is not in the range"),
        (["--as-of", "99999999999999999"], "is not in the range"),
    ],
)
def test_bad_values_are_wrong_usage_and_name_the_fix(invoke, arguments, says):
    result = invoke(recall_command, "u", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("user", ["", "x" * 257, "\udcff"])
def test_ids_that_no_event_can_carry_are_wrong_usage(invoke, user):
    assert invoke(recall_command, user).exit_code == 2
    assert invoke(profile, user).exit_code == 2


def test_spend_serves_now_and_without_it_nothing_is_spent(invoke, world, reader, monkeypatch):
    asked = []

    def answer(question, stores, encoder):
        asked.append(question.serving)
        return query.Recalled(question.user_id, NOW, [], [], [])

    monkeypatch.setattr(query, "recall", answer)
    assert invoke(recall_command, reader, "--spend", "--json").exit_code == 0
    assert invoke(recall_command, reader, "--as-of", NOW, "--json").exit_code == 0
    assert asked == [True, False]
    result = invoke(recall_command, reader, "--spend", "--as-of", NOW)
    assert result.exit_code == 2 and "leave out --as-of" in result.stderr


def test_a_store_that_is_down_is_one_line(invoke, world, monkeypatch):
    def down(*_):
        raise Transient("redis", "connection refused")

    monkeypatch.setattr(world.profiles, "read", down)
    result = invoke(recall_command, "u")
    assert isinstance(result.exception, Transient)  # the front door prints it and exits with 1


def test_without_json_a_person_reads_tables(invoke, reader):
    assert "green tea" in invoke(profile, reader, "--as-of", NOW).stdout
    text = invoke(recall_command, reader, "--as-of", NOW, "--explain").stdout
    assert "because you liked liked: green tea (2)" in text


def test_help_shows_an_example():
    for command in (profile, recall_command):
        assert "Example: tagstream" in CliRunner().invoke(command, ["--help"]).output


def test_commands_start_without_heavy_libraries():
    """What makes a command slow to start is imported only where it is needed."""
    heavy = ("torch", "transformers", "pymilvus", "onnxruntime", "cv2", "rich", "numpy")
    code = f"import sys, recall.cli, recall.build, consumers.inspect_cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
