"""The commands ``topics`` and ``publish``, and the scan behind ``note``, against real Kafka."""

import json

import pytest
from click.testing import CliRunner

from schemas.topics import INTERACTIONS, NOTE_EVENTS, all_topics
from streams.cli import publish, topics
from streams.scan import find
from streams.topics_admin import create_topics


@pytest.fixture
def call(settings, monkeypatch):
    monkeypatch.setenv("TAGSTREAM_KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    monkeypatch.setenv("TAGSTREAM_NAMESPACE", settings.namespace)
    return lambda command, *arguments, stdin=None: CliRunner().invoke(command, arguments, input=stdin)


def action(number):
    return (
        json.dumps({"event_id": f"e{number}", "user_id": f"u{number % 5}", "note_id": "n", "action": "click", "occurred_at": number}) + "\n"
    )


def test_topics_are_created_once_and_described(call, settings):
    before = call(topics, "describe")
    assert before.exit_code == 1 and "topics create" in str(before.exception)
    first, second, shown = call(topics, "create", "--json"), call(topics, "create", "--json"), call(topics, "describe", "--json")
    declared = [
        {"topic": t.name, "partitions": t.partitions, "retention_ms": t.retention_ms, "cleanup": t.cleanup}
        for t in all_topics(settings.namespace)
    ]
    assert json.loads(first.stdout) == json.loads(second.stdout) == json.loads(shown.stdout) == declared
    assert "created" in first.stderr and "created" not in second.stderr
    assert INTERACTIONS.name in call(topics, "describe").stdout


def test_publishing_reports_and_the_records_are_found_by_key(call, settings, tmp_path):
    create_topics(settings, all_topics(settings.namespace))
    file = tmp_path / "actions.jsonl"
    file.write_text("".join(action(n) for n in range(50)) + "nonsense\n")
    result = call(publish, "interactions", str(file), "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["published"] == 50 and [r["line"] for r in report["rejected"]] == [51]
    assert "line 51: $: " in result.stderr

    assert call(publish, "interactions", "-", stdin=action(50)).stdout.strip() == "1 published, 0 rejected"
    topic = INTERACTIONS.within(settings.namespace).name
    found = find(settings, topic, "u0", deadline_s=30)
    assert [json.loads(m.value())["occurred_at"] for m in found.messages] == list(range(0, 51, 5))
    assert (found.scanned, found.complete) == (51, True)
    few = find(settings, topic, "u0", newest=12, deadline_s=30)
    assert few.scanned <= 12 and not few.complete
    some = find(settings, topic, "", deadline_s=30, matches=lambda m: b'"e7"' in m.value())
    assert len(some.messages) == 1
    assert find(settings, NOTE_EVENTS.within(settings.namespace).name, "u0").messages == []


@pytest.mark.parametrize(("arguments", "says"), [(("notes", "missing.jsonl"), "missing.jsonl"), (("notes", "-", "--rate", "0"), "rate")])
def test_wrong_usage_exits_2(call, arguments, says):
    result = call(publish, *arguments, stdin="")
    assert result.exit_code == 2 and says in result.stderr


def test_publishing_without_topics_says_what_to_do(call):
    result = call(publish, "notes", "-", stdin="")
    assert result.exit_code == 1 and "topics create" in str(result.exception)
