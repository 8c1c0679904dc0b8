"""Publish to recallable from the stamps: who counts, who is counted apart, and what an operator is told."""

import json
import math

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import recall.build
import recall.pointer
import recall.redis_client
from consumers import slo
from consumers.canary_log import CanaryRun, MemoryCanaryLog, slot_id
from consumers.slo import Missing, line, measure, percentiles
from consumers.slo_cli import Since
from consumers.slo_cli import slo as command
from recall.pointer import Switch
from recall.query import RecallStores
from schemas.errors import Transient
from schemas.events import Tag
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.writes import PutNote, PutVector
from tests.recall.world import NOW, World

PUBLISHED = NOW - 60_000


def put(
    world: World, note_id: str, *times: int, published: int = PUBLISHED, tags: int = 1, revision: int = 0, visible: bool = False
) -> None:
    """A note whose stages came so many ms after it was published: received, tagged, indexed, recallable."""
    stages = {"published": published, **{name: published + after for name, after in zip(slo.STAGES, times, strict=False)}}
    record = NoteRecord(
        note_id=note_id, author_id="a", occurred_at=published, deleted=False, revision=revision, digest=b"", published_at=published,
        category=None, tags=[Tag(text="green tea", dimension="d", rank=1, confidence=0.9)] * tags, fingerprint="", tagger="test",
        degraded=[], stages=stages,
    )  # fmt: skip
    assert not world.notes.put([PutNote(record)])
    if visible:
        world.index.upsert([PutVector(note_id, "a", None, published, published, world.encoder.encode(["green tea"])[0])])


def measured(world: World, since: int = 0, runs: MemoryCanaryLog | None = None, **changes: float) -> slo.Slo:
    return measure(world.stores, runs or MemoryCanaryLog(), msgspec.structs.replace(Settings(), **changes), since, NOW)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], quantile: int) -> None:
    (found,) = percentiles(values, [quantile]).values()
    assert found in values
    assert sum(value <= found for value in values) * 100 >= quantile * len(values)
    assert sum(value < found for value in values) * 100 < quantile * len(values)


def test_stages_are_counted_from_publishing_and_steps_from_the_stage_before(world):
    for number in range(100):
        put(world, f"n{number}", 10 + number, 30 + number, 100 + 2 * number, 200 + 3 * number)
    found = measured(world)
    assert (found.notes, found.backfilled, found.met) == (100, 0, True)
    assert found.stages == {
        "received": {"p50": 59, "p95": 104, "p99": 108},
        "tagged": {"p50": 79, "p95": 124, "p99": 128},
        "indexed": {"p50": 198, "p95": 288, "p99": 296},
        "recallable": {"p50": 347, "p95": 482, "p99": 494},
    }
    assert list(found.steps) == ["published->received", "received->tagged", "tagged->indexed", "indexed->recallable"]
    assert found.steps["received->tagged"] == {"p50": 20, "p95": 20, "p99": 20}
    assert found.steps["indexed->recallable"]["p50"] == 149
    assert found.missing == Missing()
    assert line(found) == "SLO met: publish to recallable p50 347 ms (objective 500), p99 494 ms (objective 2,000) over 100 notes"


def test_backfills_are_counted_apart(world):
    """A replay of an old note, a note that was tagged again: neither says how fast a fresh note travels."""
    put(world, "live", 10, 20, 30, 40)
    put(world, "backlog", 599_000, 599_010, 599_020, 599_030, published=NOW - 700_000)
    put(world, "replayed", 601_000, 601_010, 601_020, 601_030, published=NOW - 700_000)
    put(world, "replayed, not indexed", 601_000, 601_010, published=NOW - 700_000)
    put(world, "tagged again", 10, 20, 30, 90_000, revision=1)
    found = measured(world)
    assert (found.notes, found.backfilled) == (2, 3)
    assert found.stages["recallable"] == {"p50": 40, "p95": 599_030, "p99": 599_030}
    assert found.missing == Missing()
    assert not found.met
    found = measured(world, slo_backfill_s=500.0)
    assert (found.notes, found.backfilled, found.stages["recallable"]["p99"], found.met) == (1, 4, 40, True)
    assert line(found).endswith("over 1 notes, 4 backfilled counted apart")


def test_what_waits_is_not_left_out(world):
    """Nine fast notes and one that no search finds: the tail is the one that waits, as old as it is."""
    for number in range(9):
        put(world, f"n{number}", 10, 20, 30, 40)
    put(world, "stuck", 10, 20, 30)
    found = measured(world)
    assert found.missing == Missing(not_recallable_yet=1)
    assert (found.stages["recallable"], found.met) == ({"p50": 40, "p95": 60_000, "p99": 60_000}, False)
    assert found.stages["indexed"]["p99"] == 30
    found = measured(world, slo_p99_ms=90_000.0)
    assert (found.stages["recallable"]["p99"], found.met) == (40, True), "it still has its time"
    assert found.missing == Missing(not_recallable_yet=1)


def test_what_has_no_stamp_is_told_apart(world):
    put(world, "unseen", 10, 20, 30, visible=True)
    put(world, "bare", 10, 20, tags=0)
    found = measured(world)
    assert found.missing == Missing(0, 1, 1)
    assert (found.stages["recallable"], found.met) == ({}, True)
    assert line(found) == "SLO: nothing was published that could be measured"


def test_an_update_waits_while_the_search_finds_the_old_vector(world):
    put(world, "n", 10, 20, 30, published=PUBLISHED, visible=True)
    put(world, "n", 10, 20, 30, published=PUBLISHED + 1)
    assert measured(world).missing == Missing(not_recallable_yet=1)


def test_without_milvus_what_has_no_stamp_counts_as_waiting(world, monkeypatch):
    put(world, "n", 10, 20, 30, visible=True)

    def down(_):
        raise Transient("milvus", "connection refused")

    monkeypatch.setattr(world.index, "visible", down)
    found = measured(world)
    assert found.missing == Missing(not_recallable_yet=1)
    assert found.degraded == ["missing: milvus is not available: connection refused; notes without a stamp count as waiting"]


def test_only_live_notes_since_the_moment_count(world):
    put(world, "old", 10, 20, 30, 9_000, published=NOW - 1_000_000)
    put(world, "new", 10, 20, 30, 40)
    put(world, slot_id(3), 10, 20, 30, 8_000)
    world.note("gone", deleted=True)
    assert measured(world, since=PUBLISHED).stages["recallable"]["p99"] == 40
    assert measured(world).notes == 2
    assert measured(world).stages["recallable"]["p99"] == 9_000


def test_the_read_is_bounded_and_says_so(world, monkeypatch):
    for number in range(5):
        put(world, f"n{number}", 10, 20, 30, 40 + number, published=PUBLISHED + number)
    monkeypatch.setattr(slo, "READ_NOTES", 2)
    assert slo.newest(world.notes, 0, 5)[1] is False
    records, cut = slo.newest(world.notes, 0, 3)
    assert ([record.note_id for record in records], cut) == (["n4", "n3", "n2"], True)
    assert slo.newest(world.notes, PUBLISHED + 3, 3)[1] is False


def test_canaries_of_the_time_asked_for(world):
    runs = MemoryCanaryLog()
    for at in range(10):
        runs.add_run(CanaryRun(at, slot_id(at), "found", 100.0 + at))
    runs.add_run(CanaryRun(10, slot_id(10), "late", None, "not found"))
    runs.add_run(CanaryRun(11, "", "skipped", None, "no bundle"))
    found = measured(world, since=5, runs=runs).canary
    assert (found.last_at, found.found, found.late, found.skipped, found.p50, found.p99) == (11, 5, 1, 1, 107.0, 109.0)
    assert [run.detail for run in found.alarms] == ["no bundle", "not found"]
    assert measured(world, since=12, runs=runs).canary.last_at is None


def test_without_a_bundle_there_is_nothing_to_measure(world):
    stores = RecallStores(world.profiles, world.notes, world.index, world.settings, None)
    put(world, "n", 10, 20, 30, 40)
    found = measure(stores, MemoryCanaryLog(), Settings(), 0, NOW)
    assert (found.notes, found.degraded) == (0, ["no bundle is active yet: run `tagstream consume`"])


@pytest.fixture
def invoke(world, monkeypatch):
    runs = MemoryCanaryLog()
    world.runs = runs
    monkeypatch.setattr(recall.build, "open_stores", lambda settings: world.stores)
    monkeypatch.setattr(recall.redis_client, "redis_client", lambda settings: None)
    monkeypatch.setattr(slo, "RedisCanaryLog", lambda client, namespace: runs)
    monkeypatch.setattr(recall.pointer, "history", lambda client, settings: world.switches)
    world.switches = []
    monkeypatch.setattr("consumers.slo_cli.time.time_ns", lambda: NOW * 1_000_000)
    return lambda *arguments: CliRunner().invoke(command, list(arguments))


def test_one_json_document(invoke, world):
    put(world, "n", 10, 20, 30, 40)
    world.runs.add_run(CanaryRun(NOW - 5, slot_id(1), "late", None, "not found after 10.0 s"))
    document = json.loads(invoke("--json").stdout)
    assert set(document) == {
        "since", "notes", "backfilled", "stages", "steps", "objective_ms", "met", "missing", "canary", "cut", "degraded"
    }  # fmt: skip
    assert document["since"] == NOW - 86_400_000
    assert document["objective_ms"] == {"p50": 500.0, "p99": 2000.0}
    assert document["stages"]["recallable"] == {"p50": 40.0, "p95": 40.0, "p99": 40.0}
    assert document["steps"]["published->received"]["p50"] == 10.0
    assert document["missing"] == {"not_recallable_yet": 0, "not_stamped": 0, "no_tags": 0}
    assert set(document["canary"]) == {"last_at", "found", "late", "skipped", "p50", "p99", "alarms"}
    assert document["canary"]["alarms"] == [
        {"at": NOW - 5, "note_id": slot_id(1), "outcome": "late", "found_ms": None, "detail": "not found after 10.0 s"}
    ]


def test_what_was_published_before_the_bundle_went_live_is_counted_apart(invoke, world):
    """Its stamps tell of the building of the bundle; readers had it from the one before. A rollback changes nothing about that."""
    put(world, "before", 10, 20, 30, 9_000, published=PUBLISHED)
    put(world, "after", 10, 20, 30, 40, published=PUBLISHED + 10)
    world.switches = [Switch(PUBLISHED - 99, "first", "b0"), Switch(PUBLISHED + 10, "activate", "b1", "b0"), Switch(NOW, "rollback", "b1")]
    document = json.loads(invoke("--json").stdout)
    assert (document["notes"], document["backfilled"], document["stages"]["recallable"]["p99"]) == (1, 1, 40)


def test_check_turns_a_miss_into_an_exit_status(invoke, world):
    put(world, "n", 10, 20, 30, 2_500)
    plain, checked = invoke(), invoke("--check")
    assert (plain.exit_code, checked.exit_code) == (0, 1)
    assert "SLO missed" in plain.stdout and plain.stderr == ""
    assert "p99 is 2,500 ms, above TAGSTREAM_SLO_P99_MS=2000" in checked.stderr
    assert invoke("--check", "--since", "30s").exit_code == 0, "the slow note is older"


def test_check_sees_the_newest_canary(invoke, world):
    world.runs.add_run(CanaryRun(NOW - 9, slot_id(1), "late", None, "not found after 10.0 s"))
    answer = invoke("--check")
    assert (answer.exit_code, "the newest canary was late: not found after 10.0 s" in answer.stderr) == (1, True)
    world.runs.add_run(CanaryRun(NOW - 8, slot_id(2), "found", 230.0))
    answer = invoke("--check")
    assert answer.exit_code == 0
    assert "1 found, 1 late" in answer.stdout and "not found after 10.0 s" in answer.stdout


@pytest.mark.parametrize(
    ("text", "moment"), [("10m", -600_000), ("24h", -86_400_000), ("7d", -604_800_000), ("1790000000000", NOW), ("all", Since.ALL)]
)
def test_moments(text, moment):
    assert Since().convert(text, None, None) == moment


@pytest.mark.parametrize("text", ["yesterday", "10", "-5m", "", "9" * 20, "10 parsecs", "²"])
def test_what_is_no_moment_is_wrong_usage(invoke, text):
    answer = invoke("--since", text)
    if text == "10":
        assert answer.exit_code == 0, "epoch milliseconds"
        return
    assert answer.exit_code == 2
    assert "--since" in answer.stderr


@given(st.integers(0, 10**6), st.sampled_from(["s", "m", "h", "d", "w"]))
def test_a_duration_is_a_moment_so_long_ago(count: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert math.isclose(-Since().convert(f"{count}{unit}", None, None), count * seconds * 1000)
