"""The benchmark of recall at its smallest, on the real servers."""

import pytest

from benchmarks.recall_latency import Size, run
from schemas.settings import Settings


def test_every_row_is_measured_at_tiny_size(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGSTREAM_DATA", settings.data)
    rows = run(Size(notes=400, tags=60, readers=4, actions=6, searches=20, threads=4, idle_load=None))
    assert all(row.ours > 0 for row in rows)
    exactness = [row for row in rows if row.unit == "share"]
    assert len(exactness) == 1 and exactness[0].ours >= 0.9 and "acknowledged" in exactness[0].note
