"""A roll-out on the real servers under load: backfilled by replay beside the live bundle, compared, activated, rolled back, dropped.

Notes, interactions and recalls over HTTP go on all the while; every answer must come whole from one bundle, and none may fail.
"""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from models.bundle import Bundle
from models.handbook import HANDBOOK_DIR
from offline.live import publish
from offline.samples.load import load_interactions, load_notes
from recall.build import open_bundle
from recall.reader import KnownNotes, read_reader
from schemas.events import Interaction
from schemas.settings import environ_of
from tests.e2e.oracle import expected_scores
from tests.e2e.running import consume_notes, kill, start, tagstream, tagstream_json

READERS = ("u-runner-en", "u-beauty-zh")


class Community:
    """Copies of the sample notes, and actions on them, published a few a second until told to stop."""

    def __init__(self, settings, notes, per_s=3.0):
        self.settings = settings
        self.notes = [note for note in notes if note.type == "note.published"]
        self.per_s = per_s
        self.actions = []
        self.over = threading.Event()

    def run(self):
        number = 0
        while not self.over.wait(1 / self.per_s):
            at = time.time_ns() // 1_000_000
            note = self.notes[number % len(self.notes)]
            note = msgspec.structs.replace(note, note_id=f"live-{number}", title=f"{note.title} {number}", occurred_at=at, published_at=at)
            touched = self.notes[number * 7 % len(self.notes)].note_id
            action = Interaction(event_id=f"live-{number}", user_id=READERS[number % 2], note_id=touched, action="click", occurred_at=at)
            publish(self.settings, [note, action])
            self.actions.append(action)
            number += 1


class Readers:
    """Recalls over HTTP, one after the other, each answer kept."""

    def __init__(self, url):
        self.url = url
        self.answers = []
        self.failed = []
        self.over = threading.Event()

    def run(self):
        number = 0
        while not self.over.is_set():
            body = json.dumps({"user_id": READERS[number % 2], "k": 10, "fresh_within": "all"}).encode()
            request = urllib.request.Request(f"{self.url}/recall", body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as reply:
                    self.answers.append(json.load(reply))
            except OSError as error:
                self.failed.append(repr(error))
            number += 1
            self.over.wait(0.1)

    def seen(self, bundle, more=5):
        """Waits until so many further answers came from a bundle."""
        begun, until = len(self.answers), time.monotonic() + 120
        while sum(answer["bundle"] == bundle for answer in self.answers[begun:]) < more:
            assert time.monotonic() < until, f"no answers from {bundle}"
            time.sleep(0.05)


@contextmanager
def running(what):
    thread = threading.Thread(target=what.run)
    thread.start()
    try:
        yield what
    finally:
        what.over.set()
        thread.join()


@contextmanager
def process(settings, *args):
    """A command until the end of the block, its stderr in a file of the data directory."""
    command = [sys.executable, "-m", "tagstream", *args]
    with subprocess.Popen(command, env=environ_of(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as held:
        try:
            yield held
        finally:
            held.send_signal(signal.SIGTERM)
            held.wait(60)


@pytest.fixture
def new_bundle(settings, tmp_path):
    """A bundle of another handbook version, with fewer tags a note, so that its tags are told apart."""
    handbook = shutil.copytree(HANDBOOK_DIR, tmp_path / "handbook")
    shoes = (handbook / "shoes.yaml").read_text().replace("version: 1", "version: 2", 1)
    (handbook / "shoes.yaml").write_text(shoes.replace("terms: {", "terms: {barefoot shoes: 赤足鞋, ", 1))
    fewer = msgspec.structs.replace(settings, tagger_max_tags=3)
    directory = tmp_path / "bundle"
    (built,) = tagstream_json(fewer, "bundle", "build", "--handbook", str(handbook), "--out", str(directory))
    assert built["state"] == "built"
    return str(directory), built["bundle"]


def test_a_roll_out_under_load(settings, tmp_path, new_bundle):
    settings = msgspec.structs.replace(settings, profile_max_tags=0, serve_timeout_s=30.0)
    directory, version = new_bundle
    now = time.time_ns() // 1_000_000
    notes, events = load_notes(tmp_path, now), load_interactions(now)
    tagstream(settings, "topics", "create")
    publish(settings, notes)
    consume_notes(settings)
    publish(settings, events)
    tagstream(settings, "consume", "update-profiles", "--until-idle", "2")
    (old,) = [one["bundle"] for one in tagstream_json(settings, "bundle", "history")]
    refusal = refused(settings, "bundle", "activate", directory)
    assert f"bundle {version} was never built on these servers" in refusal
    refusal = refused(settings, "replay", "interactions", "--into", directory)
    assert "tag-notes of bundle" in refusal and "first run `tagstream replay note-events" in refusal

    with ExitStack() as stack:
        stack.enter_context(process(settings, "consume", "all"))
        server = stack.enter_context(process(settings, "serve", "--port", "0"))
        url = next(line.strip() for line in server.stderr if line.startswith("http"))
        community = stack.enter_context(running(Community(settings, notes)))
        readers = stack.enter_context(running(Readers(url)))
        readers.seen(old)

        killed_in_the_middle(settings, directory)
        done = tagstream_json(settings, "replay", "all", "--into", directory)
        assert all(one["complete"] and one["dead_lettered"] == 0 for one in done.values())
        shadow = stack.enter_context(process(msgspec.structs.replace(settings, bundle=directory), "consume", "all"))
        ready(settings, version)
        settle(settings, version, at_most=10)

        found = tagstream_json(settings, "bundle", "compare", old, version)
        assert found["faults"] == [] and found["notes"]["share"] == 1.0
        assert found["tags"]["jaccard"] < 1 and found["tags"]["examples"]
        assert found["recomputed"]["notes"] > 10 and found["recomputed"]["readers"] == len({event.user_id for event in events})

        moved = tagstream_json(settings, "bundle", "activate", version)
        assert (moved["bundle"], moved["before"], moved["refused"]) == (version, old, [])
        readers.seen(version)
        assert tagstream_json(settings, "recall", READERS[0])["bundle"] == version, "without any setting"
        assert tagstream_json(settings, "bundle", "rollback")["bundle"] == old
        readers.seen(old)
        tagstream_json(settings, "bundle", "activate", version)
        readers.seen(version)
        community.over.set()
        assert "its consumers still run" in refused(settings, "bundle", "drop", old)
        settle(settings, old, version)
        assert shadow.poll() is None

    assert readers.failed == []
    check_answers(settings, readers.answers, {old: "", version: directory})
    check_profiles(settings, directory, version, [*events, *community.actions])
    dropped = tagstream_json(settings, "bundle", "drop", old)
    assert dropped["keys"] > 0
    assert [one["kind"] for one in tagstream_json(settings, "bundle", "history")] == ["first", "activate", "rollback", "activate"]
    assert "is the first one" not in refused(settings, "bundle", "rollback"), "what was dropped cannot come back"


def refused(settings, *args):
    """What a command that must not work says."""
    done = subprocess.run([sys.executable, "-m", "tagstream", *args], check=False, capture_output=True, text=True, env=environ_of(settings))
    assert done.returncode == 1, done
    return done.stderr


def killed_in_the_middle(settings, directory):
    """SIGKILL while notes are tagged anew; what follows must not show it. Profiles: tests/e2e/test_deskdrop.py."""
    slow = start(settings, "replay", "note-events", "--job", "tag-notes", "--into", directory, "--rate", "10")
    group, until = "tag-notes", time.monotonic() + 120
    while not 0 < position(settings, group, directory) < 60:
        assert time.monotonic() < until, kill(slow)
        assert slow.poll() is None, slow.stderr.read()
        time.sleep(0.1)
    kill(slow)


def position(settings, job, directory):
    """Records that a job of the bundle has committed."""
    from consumers.build import READS, group_of
    from streams.client import admin_client
    from streams.groups import committed, partitions_of

    admin, topic = admin_client(settings), READS[job].within(settings.namespace).name
    group = group_of(job, settings, Bundle(Path(directory)).version)
    return sum(committed(admin, group, topic, partitions_of(admin, topic)).values())


def ready(settings, version):
    """Waits until the bundle's consumers have partitions."""
    from consumers.build import JOBS, group_of
    from streams.client import admin_client
    from streams.groups import members

    admin, until = admin_client(settings), time.monotonic() + 120
    while not all(members(admin, [group_of(job, settings, version) for job in JOBS]).values()):
        assert time.monotonic() < until, "the bundle's consumers do not start"
        time.sleep(0.2)


def settle(settings, *versions, at_most=0):
    """Waits until the consumers of the bundles have handled everything but so much."""
    from consumers.rollout import lag_of

    until = time.monotonic() + 300
    while any(sum(lag_of(settings, version).values()) > at_most for version in versions):
        assert time.monotonic() < until
        time.sleep(0.2)


def check_answers(settings, answers, directories):
    """Every answer is whole: its notes carry the tags of the bundle that it names."""
    assert {answer["bundle"] for answer in answers} == set(directories)
    assert all(answer["results"] and not answer["degraded"] for answer in answers)
    for version, directory in directories.items():
        stores = open_bundle(msgspec.structs.replace(settings, bundle=directory), version).stores
        mine = [result for answer in answers if answer["bundle"] == version for result in answer["results"]]
        records = stores.notes.get(sorted({result["note_id"] for result in mine}))
        for result in mine:
            assert result["tags"] == [tag.text for tag in records[result["note_id"]].tags]


def check_profiles(settings, directory, version, events):
    """The rebuilt and followed profiles are the oracle's with the new bundle's tags."""
    settings = msgspec.structs.replace(settings, bundle=directory)
    stores = open_bundle(settings, version).stores
    records = stores.notes.get(sorted({event.note_id for event in events}))
    tags = {note_id: [tag.text for tag in record.tags] for note_id, record in records.items()}
    assert max(map(len, tags.values())) == 3
    now = time.time_ns() // 1_000_000
    for user, want in expected_scores(events, tags, now).items():
        have = read_reader(user, now, stores.profiles, KnownNotes(stores.notes), settings).scores
        assert have == pytest.approx(want, rel=1e-6, abs=1e-6), user


def test_a_dry_run_prints_the_writes_and_makes_none(settings, tmp_path, new_bundle):
    directory, version = new_bundle
    notes = load_notes(tmp_path, time.time_ns() // 1_000_000)[:12]
    tagstream(settings, "topics", "create")
    publish(settings, notes)
    tagstream(settings, "consume", "tag-notes", "--until-idle", "2")
    lines = tagstream(settings, "replay", "note-events", "--into", directory, "--dry-run").splitlines()
    written = [json.loads(line) for line in lines]
    assert [one["key"] for one in sorted(written, key=lambda one: one["key"])] == sorted(note.note_id for note in notes)
    assert {one["write"] for one in written} == {"Publish"}
    assert version not in {one["bundle"] for one in tagstream_json(settings, "bundle", "list")}
    assert position(settings, "tag-notes", directory) == 0
    gone = retention_takes_the_first_note(settings)
    dry = ("replay", "note-events", "--into", directory, "--dry-run")
    refusal = refused(settings, *dry)
    assert f"/{gone}: 1 records before offset 1" in refusal and "--allow-gap" in refusal
    assert len(tagstream(settings, *dry, "--allow-gap").splitlines()) == len(notes) - 1


def retention_takes_the_first_note(settings):
    """Of the partition that is returned."""
    from confluent_kafka import TopicPartition

    from schemas.topics import NOTE_EVENTS
    from streams.client import admin_client
    from streams.groups import ends, partitions_of

    admin, topic = admin_client(settings), NOTE_EVENTS.within(settings.namespace).name
    partition = next(number for number, end in ends(admin, topic, partitions_of(admin, topic)).items() if end)
    for answer in admin.delete_records([TopicPartition(topic, partition, 1)]).values():
        answer.result(timeout=20)
    return partition


def test_two_processes_share_a_replay_by_partitions(settings, tmp_path, new_bundle):
    directory, _ = new_bundle
    notes = load_notes(tmp_path, time.time_ns() // 1_000_000)
    tagstream(settings, "topics", "create")
    publish(settings, notes)
    tagstream(settings, "consume", "tag-notes", "--until-idle", "2")
    replay = ("replay", "note-events", "--job", "tag-notes", "--into", directory, "--rate", "3", "--json")
    command = [sys.executable, "-m", "tagstream", *replay]
    both = [subprocess.Popen(command, env=environ_of(settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    told = [one.communicate(timeout=240) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    handled = [json.loads(out)["tag-notes"]["handled"] for out, _ in told]
    assert min(handled) > 0
    assert sum(handled) >= len(notes)
    assert position(settings, "tag-notes", directory) == len(notes)
