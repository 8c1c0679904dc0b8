"""Predictions are read from what ``tagstream tag --json`` prints."""

from pathlib import Path

import pytest

from offline.distil.predictions import read_predictions
from offline.tag_data.samples import Told
from schemas.errors import BadSetting, MissingPrerequisite

LINE = (
    '{"note_id":"n","category":"shoes","tags":[{"text":"red shoe","dimension":"shoe_type","rank":1,"confidence":0.5,'
    '"evidence":[{"source":"image","position":2}]},{"text":"soft","dimension":"cushioning","rank":2,"confidence":0.5}],"degraded":["x"]}\n'
)


def test_lines_of_the_tag_command_are_read(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(LINE)
    [one] = read_predictions(path)
    assert (one.note_id, one.category, one.degraded) == ("n", "shoes", ["x"])
    assert one.told == [Told("red shoe", "shoe_type", "image"), Told("soft", "cushioning", "body")]


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with pytest.raises(MissingPrerequisite, match="offline infer"):
        list(read_predictions(path))
    path.write_text(LINE + '{"note_id": 1}\n')
    with pytest.raises(BadSetting, match=r"line 2: .*\$\.note_id"):
        list(read_predictions(path))
