"""Tags against the handbook: what says little, what the handbook does not know, which dimensions are covered; and the reference file."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from consumers.tag_quality import HandbookQuality, open_reference
from models.handbook import load_handbook
from offline.tag_quality import tag_quality
from schemas.errors import BadSetting
from schemas.events import NoteTagged, Tag
from schemas.settings import Settings


@pytest.fixture(scope="module")
def quality():
    return HandbookQuality(load_handbook())


def note(*tags, category="shoes"):
    made = [Tag(text=text, dimension=dimension, rank=rank, confidence=0.5) for rank, (text, dimension) in enumerate(tags, 1)]
    return NoteTagged(note_id="n", author_id="a", occurred_at=0, published_at=0, bundle="b", category=category, tags=made)


def test_english_and_chinese_tags_are_judged(quality):
    known = [dimension.id for dimension in load_handbook().category("shoes").dimensions][:2]
    found = quality(
        note(("breathable mesh", known[0]), ("跑鞋", known[1]), ("zxqv plumb", known[0]), ("nice good", known[0]), ("thing", ""))
    )
    assert (found.tags, found.covered, found.dimensions) == (5, 2, len(load_handbook().category("shoes").dimensions))
    assert found.low_information == 2, "a tag of words that carry nothing, and one that stands for no dimension"
    assert quality(note(("breathable mesh", known[0]), ("跑鞋", known[1]))).unknown == 0
    assert quality(note(("zxqv plumb", known[0]))).unknown == 1
    assert found.confidences == [0.5] * 5


def test_a_note_without_category_or_tags(quality):
    assert quality(note(("running shoes", "x"), category=None)).dimensions == 0
    nothing = quality(note())
    assert (nothing.tags, nothing.covered, nothing.unknown) == (0, 0, 0)


def test_a_reference_is_made_found_and_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TAGSTREAM_DATA", str(tmp_path))
    lines = [
        {"type": "note.published", "note_id": f"n{number}", "author_id": "a", "category": "shoes", "occurred_at": 1, "published_at": 1,
         "title": "Cushioned road running shoe with breathable mesh", "body": "Wide toe box."} for number in range(3)
    ]  # fmt: skip
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = CliRunner().invoke(tag_quality, [str(tmp_path / "notes.jsonl"), "--json"], catch_exceptions=False)
    made = json.loads(result.stdout)
    assert made["notes"] == 3
    assert made["means"]["tags_per_note"] >= 1
    settings = Settings(data=str(tmp_path))
    reference = open_reference(settings, made["bundle"])
    assert reference is not None and reference.vector[0] == 3
    assert open_reference(settings, "another") is None
    assert open_reference(settings, None) is None
    named = msgspec.structs.replace(settings, metrics_reference=made["out"])
    assert open_reference(named, made["bundle"]) == reference
    assert open_reference(named, "another") is None
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(BadSetting, match="tag-quality"):
        open_reference(msgspec.structs.replace(settings, metrics_reference=str(tmp_path / "broken.json")), "b")


def test_a_file_without_notes_is_refused(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(BadSetting, match="no note"):
        CliRunner().invoke(tag_quality, [str(tmp_path / "none.jsonl")], catch_exceptions=False)
    (tmp_path / "bad.jsonl").write_text('{"note_id": 1}\n')
    with pytest.raises(BadSetting, match="line 1"):
        CliRunner().invoke(tag_quality, [str(tmp_path / "bad.jsonl")], catch_exceptions=False)
