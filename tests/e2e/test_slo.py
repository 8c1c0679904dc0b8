"""``slo`` and ``canary`` on the real servers: found, late while index-notes is down, cleaned up after SIGKILL and on SIGTERM."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from consumers.canary_log import RedisCanaryLog
from recall.build import open_stores
from recall.redis_client import redis_client
from schemas.canary import is_canary
from schemas.settings import Settings
from schemas.stored import NoteRecord
from tests.e2e.running import kill, start, tagstream_json

LATE_S = 6.0
NOTES = 30


@contextmanager
def running(settings: Settings, *jobs: str) -> Iterator[None]:
    processes = [start(settings, "consume", job) for job in jobs]
    try:
        yield
        assert [process.poll() for process in processes] == [None] * len(jobs)
    finally:
        for process in processes:
            kill(process)


def wait(what: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


def publish(settings: Settings, since: int) -> None:
    notes = [
        {
            "type": "note.published", "note_id": f"n{number}", "author_id": "a", "category": "shoes", "occurred_at": since + number,
            "published_at": since + number, "title": "Breathable knit upper", "body": f"Carbon plate and a roomy toe box, no. {number}.",
        }
        for number in range(NOTES)
    ]  # fmt: skip
    tagstream_json(settings, "publish", "notes", "-", stdin="\n".join(map(json.dumps, notes)))


def records(settings: Settings, note_ids: Iterable[str]) -> list[NoteRecord]:
    """What the live bundle's stores hold of notes."""
    return list(open_stores(settings).notes.get(list(note_ids)).values())


@pytest.fixture
def quick(settings: Settings) -> Settings:
    tagstream_json(settings, "topics", "create")
    return replace(settings, canary_late_s=60.0, canary_interval_s=0.2, slo_p50_ms=60_000.0, slo_p99_ms=60_000.0)


def terminated(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.slow
def test_slo_and_canary(quick: Settings) -> None:
    log = RedisCanaryLog(redis_client(quick), quick.namespace)
    assert tagstream_json(quick, "canary", "--once", code=1)["runs"][0]["detail"].startswith("no bundle is active yet")
    with running(quick, "tag-notes"):
        with running(quick, "index-notes"):
            wait(lambda: open_stores(quick).bundle)
            began = time.time_ns() // 1_000_000
            publish(quick, began)
            ids = [f"n{number}" for number in range(NOTES)]
            wait(lambda: sum("recallable" in record.stages for record in records(quick, ids)) == NOTES)
            check_slo(quick, began)
            check_found(quick, log)
            check_sigterm(quick, log)
        hasty = replace(quick, canary_late_s=LATE_S)
        check_late(hasty, log)
        killed = check_sigkill(hasty, log)
        with running(quick, "index-notes"):
            check_cleaned_up(quick, log, killed)
    shown = tagstream_json(quick, "recall", "nobody", "--fresh-within", "all", "-k", "1000")
    assert {one["note_id"] for one in shown["results"] + shown["removed"]} == {f"n{number}" for number in range(NOTES)}


def check_slo(settings: Settings, began: int) -> None:
    """Every note has every stamp, in order, and the percentiles are those of the stamps."""
    found = tagstream_json(settings, "slo", "--since", str(began))
    assert (found["since"], found["notes"], found["backfilled"], found["met"]) == (began, NOTES, 0, True)
    names = ["published", "received", "tagged", "indexed", "recallable"]
    stages = [record.stages for record in records(settings, [f"n{number}" for number in range(NOTES)])]
    for one in stages:
        assert [one[name] for name in names] == sorted(one[name] for name in names)
    reached = [one["recallable"] - one["published"] for one in stages]
    assert found["stages"]["recallable"]["p99"] == max(reached)
    assert found["steps"]["tagged->indexed"]["p50"] <= found["stages"]["indexed"]["p99"]
    assert tagstream_json(replace(settings, slo_p99_ms=1.0), "slo", "--check", code=1)["met"] is False


def check_found(settings: Settings, log: RedisCanaryLog) -> None:
    done = tagstream_json(settings, "canary", "--until", "3")
    assert (done["found"], done["late"], done["left"]) == (3, 0, 0)
    assert log.open() == []
    ids = [run["note_id"] for run in done["runs"]]
    assert len(set(ids)) == 3 and all(map(is_canary, ids))
    assert all(record.deleted for record in records(settings, ids))
    found = tagstream_json(settings, "slo", "--check")
    assert (found["notes"], found["canary"]["found"], found["canary"]["late"]) == (NOTES, 3, 0)
    times = [run["found_ms"] for run in done["runs"]]
    assert (found["canary"]["p50"], found["canary"]["p99"]) == (sorted(times)[1], max(times))


def check_sigterm(settings: Settings, log: RedisCanaryLog) -> None:
    before = len(log.runs())
    process = start(settings, "canary")
    wait(lambda: len(log.runs()) > before)
    assert terminated(process)[0] == 0
    assert log.open() == []


def check_late(settings: Settings, log: RedisCanaryLog) -> None:
    """index-notes is down: the alarm is on stderr, in the log and in `slo`, and the canary is remembered until it is gone."""
    done = tagstream_json(settings, "canary", "--once", code=1)
    (run,) = done["runs"]
    assert (run["outcome"], done["left"]) == ("late", 1)
    assert "it waits for tag-notes or index-notes" in run["detail"]
    assert [entry.note_id for entry in log.open()] == [run["note_id"]]
    assert tagstream_json(settings, "slo", "--check", code=1)["canary"]["alarms"][0] == run


def check_sigkill(settings: Settings, log: RedisCanaryLog) -> str:
    """Killed between publishing its canary and deleting it; the id that stays behind."""
    held = {entry.note_id for entry in log.open()}
    process = start(settings, "canary")
    wait(lambda: {entry.note_id for entry in log.open()} - held)
    kill(process)
    (left,) = [entry for entry in log.open() if entry.note_id not in held]
    assert left.deleted_at is None
    return left.note_id


def check_cleaned_up(settings: Settings, log: RedisCanaryLog, killed: str) -> None:
    """The next start finds its own canary and sees to the two that were left, once the killed process can no longer be at it."""
    left = {entry.note_id for entry in log.open()}
    assert len(left) == 2 and killed in left
    wait(lambda: not records(settings, [killed])[0].deleted and "recallable" in records(settings, [killed])[0].stages)
    shown = tagstream_json(settings, "recall", "nobody", "--fresh-within", "all", "-k", "1000")
    assert not any(is_canary(one["note_id"]) for one in shown["results"])
    time.sleep(max(0.0, max(entry.until for entry in log.open()) / 1000 - time.time()))
    done = tagstream_json(settings, "canary", "--once")
    assert (done["found"], done["left"]) == (1, 0)
    assert log.open() == []
    assert all(record.deleted for record in records(settings, left))
    assert tagstream_json(settings, "note", killed)["state"] == "deleted"
