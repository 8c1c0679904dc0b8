import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import consumers.tag_file as tag_file
from models.bundle import Learned
from models.bundle_build import build_bundle
from models.handbook import load_handbook
from models.handbook_tagger import HandbookTagger
from models.roles import Utterance
from schemas.events import Evidence, NoteEvent, Product
from schemas.settings import Settings
from tests.consumers.media_server import wav
from tests.models.hashing_encoder import HashingEncoder
from tests.models.test_encoder_export import write_encoder

NOTE = {"type": "note.published", "note_id": "n-1", "author_id": "a", "occurred_at": 1, "published_at": 1, "category": "shoes"}
LIVE = NOTE | {"title": "Crimson running shoes", "body": "A cushioned midsole."}
CHINESE = NOTE | {"note_id": "鞋 {2}", "title": "复古跑鞋，缓震中底"}
DELETED = NOTE | {"note_id": "n-3", "type": "note.deleted", "title": "Crimson running shoes"}


@pytest.fixture(autouse=True)
def tagger(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = HashingEncoder()
    made = HandbookTagger(load_handbook(), encoder)
    monkeypatch.setattr(tag_file, "_open", lambda settings, bundle: Learned(lambda: made, encoder, "b", {}, {}))


def run(*lines: object, options: tuple[str, ...] = ("--json",)) -> Result:
    text = "".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return CliRunner().invoke(tag_file.tag, ["-", *options], input=text.encode())


def test_a_bundle_is_found_by_its_directory_or_by_its_version_in_the_data_directory(tmp_path: Path) -> None:
    write_encoder(tmp_path / "tiny")
    settings = Settings(data=str(tmp_path), tag_encoder=str(tmp_path / "tiny"))
    made = build_bundle(settings, [], None, None, lambda _: None)
    for wanted in (str(made), made.name):
        assert Path(tag_file._of_bundle(settings, wanted).bundle).resolve() == made.resolve()
    assert tag_file._of_bundle(settings, "b0000000000") == tag_file._of_bundle(settings, None) == settings


def test_one_line_per_event_in_order() -> None:
    result = run(LIVE, CHINESE, DELETED, LIVE)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["note_id"] for line in lines] == ["n-1", "鞋 {2}", "n-3", "n-1"]
    assert lines[0] == lines[3]
    assert lines[2]["tags"] == []
    assert "cushioned midsole" in [tag["text"] for tag in lines[0]["tags"]]
    assert "缓震中底" in [tag["text"] for tag in lines[1]["tags"]]
    assert set(lines[0]) == {"note_id", "category", "tags", "degraded"}
    assert set(lines[0]["tags"][0]) == {"text", "dimension", "rank", "confidence", "evidence"}


def test_bad_lines_are_named_and_the_rest_is_done() -> None:
    result = run(LIVE, '{"note_id": "x"}\n', "\n", "not json\n", NOTE | {"occurred_at": "yesterday"}, CHINESE)
    assert result.exit_code == 1
    assert [json.loads(line)["note_id"] for line in result.stdout.splitlines()] == ["n-1", "鞋 {2}"]
    told = result.stderr.splitlines()
    assert [line.split(":")[0] for line in told] == ["line 2", "line 4", "line 5"]
    assert "$.type" in told[0] and "$.occurred_at" in told[2]


def test_a_table_for_a_person_shows_tags_bars_and_evidence() -> None:
    result = run(LIVE, DELETED, options=())
    assert result.exit_code == 0, result.output
    assert "cushioned midsole" in result.stdout
    assert "█" in result.stdout
    assert "the note is deleted" in result.stdout


def test_terminal_control_characters_are_not_printed() -> None:
    result = run(LIVE | {"title": "\x1b[31mred\u202e shoes", "note_id": "n\x07"}, options=())
    assert not {"\x1b", "\u202e", "\x07"} & set(result.stdout)


def test_a_missing_file_is_wrong_usage() -> None:
    result = CliRunner().invoke(tag_file.tag, ["/nowhere/notes.jsonl"])
    assert result.exit_code == 2
    assert "/nowhere/notes.jsonl" in result.stderr


def test_evidence_of_a_product_is_found_in_its_card() -> None:
    cards = [Product(name="Mug"), Product(name="Glide 2", brand="Kitefoot", description="gum sole")]
    note = NoteEvent(type="note.published", note_id="n", author_id="a", occurred_at=0, published_at=0, products=cards)
    text, position = tag_file.evidence_text(note, Evidence(source="product", position=1_000_000 + 17))
    assert text[position:] == "gum sole"


class Listener:
    """Twin of a transcriber."""

    name = version = "twin"

    def transcribe(self, sounds):
        return [[Utterance("it has a gum sole", 61_000, 63_000)] for _ in sounds]


def test_voices_of_files_are_heard_where_the_settings_allow_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A medium outside the roots costs its tags and is named; the note is tagged all the same."""
    encoder = HashingEncoder()
    made = HandbookTagger(load_handbook(), encoder)
    heard = Learned(lambda: made, encoder, "b", {}, {}, open_transcriber=Listener)
    monkeypatch.setattr(tag_file, "_open", lambda settings, bundle: heard)
    monkeypatch.setenv("TAGSTREAM_MEDIA_ROOTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "voice.wav").write_bytes(wav())
    spoken = LIVE | {"audios": [f"file://{tmp_path}/voice.wav", "file:///etc/passwd"], "images": ["file:///etc/hosts"]}
    (line,) = (json.loads(line) for line in run(spoken).stdout.splitlines())
    (tag,) = [tag for tag in line["tags"] if tag["text"] == "gum sole"]
    assert tag["evidence"][0]["source"] == "audio" and 61_000 <= tag["evidence"][0]["position"] <= 63_000
    assert [lack.split(" (")[0] for lack in line["degraded"]] == ["audio: refused, outside_roots"], "it sees no images, so it lacks none"
    shown = run(spoken, options=()).stdout
    assert "audio at 1:02" in shown and "without audio: refused, outside_roots" in shown
    (deaf,) = (json.loads(line) for line in run(LIVE).stdout.splitlines())
    assert "gum sole" not in [tag["text"] for tag in deaf["tags"]] and deaf["degraded"] == []
