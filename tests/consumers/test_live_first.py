"""How a replay makes room for live work: small batches, a low place in line, and what live requests wait for at a shared endpoint.

The gate of live lag and the whole way through real jobs: tests/streams/test_replay.py, tests/e2e/test_live_first.py.
"""

import os
import subprocess
import sys
import threading
import time

import pytest
from msgspec.structs import replace

from consumers.live_first import behind_at_the_endpoint, in_small_batches
from consumers.replay import target_of
from models.bundle import Bundle
from models.bundle_build import build_bundle
from models.chat_endpoint import ChatEndpoint, EndpointSpec
from schemas.settings import Settings
from tests.models.chat_server import chat_server
from tests.models.one_slot import OneSlot
from tests.models.test_encoder_export import write_encoder

ASK = ([{"role": "user", "content": "tags?"}], None, 8)


def test_a_replay_asks_for_little_at_a_time():
    small = in_small_batches(Settings(replay_batch=64, tag_notes_batch=16, index_notes_batch=500, update_profiles_batch=400_000))
    assert (small.tag_notes_batch, small.index_notes_batch, small.update_profiles_batch) == (16, 64, 64)


@pytest.mark.parametrize("idle", [True, False])
def test_a_replay_steps_back_behind_everything_else(idle):
    """Its threads too, those it starts from then on."""
    told = (
        "import os; from consumers.live_first import step_back; "
        f"step_back({idle}); step_back({idle}); print(os.nice(0), os.sched_getscheduler(0))"
    )
    nice, policy = map(int, subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split())
    assert nice >= 10
    assert policy in ((os.SCHED_IDLE, os.SCHED_OTHER) if idle else (os.SCHED_OTHER,)), "OTHER where the system allows no more"


def waits(priorities: bool, live: EndpointSpec, backfill: EndpointSpec) -> tuple[int, int]:
    """Backfill requests that a live one found waiting, and that it waited for, at most, of twelve live ones in the middle of forty."""
    slot = OneSlot(lambda body: "[]", priorities=priorities, service_s=0.02)
    with chat_server(slot) as server:
        first, second = (ChatEndpoint(replace(spec, url=server.url)) for spec in (live, backfill))
        replaying = threading.Thread(target=second.ask_all, args=([ASK] * 40,))
        replaying.start()
        while len(slot.of("new")) < 12:
            time.sleep(0.001)
        assert all(one.text == "[]" for one in first.ask_all([ASK] * 12))
        replaying.join()
        first.close()
        second.close()
    assert (len(slot.of("live")), len(slot.of("new"))) == (12, 40)
    return max(one.waiting for one in slot.of("live")), max(one.passed for one in slot.of("live"))


LIVE, NEW = EndpointSpec(url="", model="live"), EndpointSpec(url="", model="new")


def test_an_endpoint_with_priorities_answers_every_live_note_before_any_backfill_that_waits():
    waiting, passed = waits(True, LIVE, replace(NEW, priority=10))
    assert waiting >= 3, "else nothing was shown"
    assert passed == 0


def test_without_priorities_a_live_note_waits_for_the_few_requests_of_a_replay_at_most():
    few = Settings().endpoint_replay_concurrency
    assert waits(False, LIVE, replace(NEW, concurrency=few))[1] <= few
    assert waits(False, LIVE, NEW)[1] > few, "which is what the bound is for"


@pytest.fixture
def local(tmp_path):
    write_encoder(tmp_path / "tiny")
    return Settings(data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"), endpoint_url="http://127.0.0.1:9/v1", endpoint_model="m")


def test_a_replay_asks_an_endpoint_by_its_priority_or_a_few_at_a_time(local):
    asking = replace(local, tagger="endpoint")
    built = Bundle(build_bundle(asking, [], None, None, lambda _: None))
    few = behind_at_the_endpoint(asking, built)
    assert (few.endpoint_priority, few.endpoint_concurrency, few.tag_notes_batch) == (0, 2, 2)
    told = behind_at_the_endpoint(replace(asking, endpoint_replay_priority=10, endpoint_priority=1), built)
    assert (told.endpoint_priority, told.endpoint_concurrency, told.tag_notes_batch) == (10, 8, 16)


def test_a_replay_with_a_tagger_of_its_own_keeps_its_batches(local):
    built = build_bundle(local, [], None, None, lambda _: None)
    target = target_of(local, str(built))
    assert (target.bundle, target.tag_notes_batch) == (str(built), 16)
    assert behind_at_the_endpoint(replace(local, transcriber_correction=True), Bundle(built)).tag_notes_batch == 2
