"""Live notes and a replay at one chat endpoint, by the real commands: live ones go first, whether or not the endpoint knows priorities."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from schemas.settings import Settings
from schemas.topics import all_topics
from streams.topics_admin import create_topics
from tests.e2e.running import kill, start, tagstream, tagstream_json
from tests.e2e.test_upgrade import note, publish, until
from tests.models.chat_server import chat_server
from tests.models.one_slot import OneSlot

OLD, FRESH = 24, 12
TOLD = json.dumps([{"text": "crimson mesh", "dimension": "upper_material", "source": "title"}])


class Replaying:
    """``tagstream replay`` in a process of its own, and what it said."""

    def __init__(self, settings: Settings, directory: str) -> None:
        self.process = start(settings, "replay", "note-events", "--job", "tag-notes", "--into", directory)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(iter(self.process.stderr.readline, ""))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._reader.join()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        print("".join(self.said))


@contextmanager
def both_at(slot: OneSlot, settings: Settings, directory: Path, **replays: int) -> Iterator[tuple[Settings, Replaying]]:
    """A live consumer that has tagged ``OLD`` notes, and a replay of them that has begun, at the same endpoint, which is held now."""
    create_topics(settings, all_topics(settings.namespace))
    with chat_server(slot) as chat:
        live = replace(settings, tagger="endpoint", endpoint_url=chat.url, endpoint_model="live", endpoint_upgrade_s=0.0)
        new = replace(live, endpoint_model="new", **replays)
        tagstream_json(new, "bundle", "build", "--out", str(directory))
        publish(live, *(note(number) for number in range(OLD)))
        tagstream(live, "consume", "tag-notes", "--until-idle", "1")
        consumer = start(live, "consume", "tag-notes")
        publish(live, note(OLD))
        until("the live consumer is there", lambda: len(slot.of("live")) == OLD + 1)
        replaying = Replaying(new, str(directory))
        try:
            until("the replay has begun", lambda: len(slot.of("new")) >= 2)
            slot.hold()
            yield live, replaying
            slot.go_on()
            until("the replay ends", lambda: replaying.process.poll() is not None)
            assert replaying.process.returncode == 0, replaying.said
        finally:
            slot.go_on()
            replaying.end()
            print(kill(consumer))


def publish_fresh(slot: OneSlot, live: Settings, waiting: Callable[[], bool]) -> int:
    """Live notes come while the endpoint is held, and are tagged once ``waiting`` is true and it goes on. Returns how many requests the
    replay made meanwhile."""
    publish(live, *(note(number) for number in range(OLD + 1, OLD + 1 + FRESH)))
    until("live notes wait at the endpoint", lambda: slot.waiting("live") >= 2 and waiting())
    before = len(slot.of("new"))
    slot.go_on()
    until("all live notes are answered", lambda: sum(one.begun for one in slot.of("live")) == OLD + 1 + FRESH)
    return len(slot.of("new")) - before


def test_by_priority_every_live_note_is_answered_before_all_backfill_that_waits(settings: Settings, tmp_path: Path) -> None:
    slot = OneSlot(lambda body: TOLD, priorities=True, service_s=0.05)
    with both_at(slot, settings, tmp_path / "new", endpoint_replay_priority=10) as (live, _):
        publish_fresh(slot, live, lambda: slot.waiting("new") >= 3)
        fresh = slot.of("live")[OLD + 1 :]
        assert max(one.waiting for one in fresh) >= 3
        assert [one.passed for one in fresh] == [0] * FRESH
    assert len(slot.of("new")) == OLD + 1 + FRESH, "and the backfill comes to its end"


def test_without_priorities_nothing_more_is_asked_for_backfill_while_live_notes_wait(settings: Settings, tmp_path: Path) -> None:
    """What the replay had asked already, two requests at most, is all that a live note can wait for."""
    slot = OneSlot(lambda body: TOLD, priorities=False, service_s=0.05)
    with both_at(slot, settings, tmp_path / "new", endpoint_replay_live_lag=0) as (live, replaying):
        told = f"waits for live work: {settings.namespace}.tagstream-tag-notes"
        assert publish_fresh(slot, live, lambda: any(told in line for line in replaying.said)) == 0
        assert max(one.passed for one in slot.of("live")[OLD + 1 :]) <= 2
    assert len(slot.of("new")) == OLD + 1 + FRESH, "and the backfill comes to its end"
