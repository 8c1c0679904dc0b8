"""The demo's notes with media: which they are, and how what the models said is held against the truth."""

import json

import msgspec
from rich.console import Console

from models.vlm_card import DEMO_DIR
from offline.demo_media import FIRST, KINDS, SEED, MediaNote, SeenAndHeard, counts, held_out_notes
from offline.show_demo_media import place, seen_and_heard, show_seen_and_heard
from schemas.events import Evidence, Tag
from schemas.stored import NoteRecord

IMAGES = ["file:///a.jpg", "file:///b.jpg"]


def tag(text: str, source: str = "title", position: int = 0) -> Tag:
    return msgspec.convert(
        {"text": text, "dimension": "d", "rank": 1, "confidence": 0.5, "evidence": [{"source": source, "position": position}]}, Tag
    )


def media_note(*tags: Tag, audios: tuple[str, ...] = (), degraded: tuple[str, ...] = ()) -> MediaNote:
    """The demo's shoes with a voice, tagged so."""
    event, truth = held_out_notes()[3]
    event = msgspec.structs.replace(event, images=IMAGES, audios=list(audios))
    record = NoteRecord(
        note_id=event.note_id, author_id="a", occurred_at=1, deleted=False, revision=0, digest=b"", published_at=1,
        category=event.category, tags=list(tags), fingerprint="", tagger="vlm", degraded=list(degraded), stages={},
    )  # fmt: skip
    return MediaNote(event, truth, record, 1234)


def test_the_notes_are_the_first_of_their_kinds_among_those_held_out() -> None:
    notes = held_out_notes()
    kinds = [(note.truth.language, bool(note.truth.shots), note.truth.voice is not None) for note in notes]
    assert kinds == list(KINDS) and all(note.truth.images for note in notes)
    plan = json.loads((DEMO_DIR / "figures.json").read_text())["facts"]["plan"]
    (count,) = [count for seed, first, count in plan["held_out"] if (seed, first) == (SEED, FIRST)]
    assert all(FIRST <= int(note.event.note_id.removeprefix("sim-")) < FIRST + count for note in notes)
    assert plan["notes"] <= FIRST


def test_what_a_note_went_without_is_not_missed() -> None:
    found = media_note(tag("running shoes"), tag("suede boots", "image"))
    assert found.true_tags == {"running shoes"}
    missed = [one.en for one in found.missed]
    assert "striped pattern" in missed and "limited edition" not in missed and "running shoes" not in missed
    heard = media_note(tag("running shoes"), tag("suede boots", "image"), audios=("file:///v.wav",))
    assert {one.en for one in heard.missed} - set(missed) == {"limited edition", "pace training"}
    assert counts([found, heard]) == {"tags": 4, "true": 2, "missed": 2 * len(missed) + 2}


def test_it_is_shown_with_evidence_beside_the_truth() -> None:
    note = media_note(tag("running shoes", "video", 250), tag("[red]boots", "image", 1), degraded=("audio: refused",))
    console = Console(width=200, record=True, file=None)
    with console.capture() as shown:
        show_seen_and_heard(console, SeenAndHeard([note], "no voices here"))
    lines = shown.get().splitlines()
    (true,) = [line for line in lines if "running shoes" in line]
    (untrue,) = [line for line in lines if "boots" in line]
    assert true.startswith("true") and "video 250 ms" in true and "0.50" in true
    assert untrue.startswith("not") and "[red]boots" in untrue and "image 2" in untrue
    assert "2 images, recallable after 1.2 s, without audio: refused" in lines[0]
    assert any("1 of 2 tags are true" in line for line in lines) and "no voices here" in lines
    assert any("of no use outside it" in line for line in lines)
    told = seen_and_heard(SeenAndHeard([note], ""))
    assert json.loads(json.dumps(told))["notes"][0]["tags"][0]["evidence"] == [{"source": "video", "position": 250}]


def test_a_place_in_sound_is_a_moment() -> None:
    assert [place(Evidence(source="audio", position=60)), place(Evidence(source="body", position=3))] == ["audio 60 ms", "body"]
