"""``bundle trim``: old notes leave the lists of one bundle, in real Redis."""

import json
import time
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consumers.rollout_cli import bundle
from recall.notes import RedisNotes
from recall.pointer import activate_if_none
from recall.redis_client import redis_client
from recall.stores import Window
from schemas.errors import MissingPrerequisite
from schemas.events import Tag
from schemas.keys import Keys
from schemas.stored import NoteRecord
from schemas.writes import PutNote

DAY_MS = 86_400_000


def note(note_id: str, published_at: int) -> PutNote:
    tags = [Tag(text="green tea", dimension="d", rank=1, confidence=1.0)]
    return PutNote(
        NoteRecord(
            note_id=note_id,
            author_id="a",
            occurred_at=published_at,
            deleted=False,
            revision=0,
            digest=note_id.encode(),
            published_at=published_at,
            category="food",
            tags=tags,
            fingerprint="f",
            tagger="t",
            degraded=[],
            stages={},
        )
    )


@pytest.fixture
def trim(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TAGSTREAM_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("TAGSTREAM_NAMESPACE", settings.namespace)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(bundle, ["trim", *arguments])

    return run


def test_old_notes_leave_the_lists_of_the_live_bundle_and_no_other(trim: Any, settings: Any) -> None:
    none = trim("--older-than", "90d")
    assert isinstance(none.exception, MissingPrerequisite) and "no bundle is live yet" in str(none.exception)

    client, now = redis_client(settings), int(time.time() * 1000)
    activate_if_none(client, settings, "b1")
    stores = {name: RedisNotes(client, Keys(settings.namespace, name)) for name in ("b1", "b2")}
    for store in stores.values():
        store.put([note("old", now - 100 * DAY_MS), note("new", now - 80 * DAY_MS)])
    result = trim("--older-than", "90d", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"bundle": "b1", "entries": 3}  # its tag, its category, all notes

    def listed(name: str) -> list[str]:
        return [hit.note_id for hit in stores[name].recent(["food"], Window(), 10)]

    assert (listed("b1"), listed("b2")) == (["new"], ["new", "old"])
    assert set(stores["b1"].get(["old", "new"])) == {"old", "new"}
    assert "3 entries went from the lists of b2" in trim("--older-than", "90d", "b2").stdout
    assert listed("b2") == ["new"]
    refused = trim("--older-than", "all")
    assert refused.exit_code == 2 and "give an age such as 90d" in refused.output
