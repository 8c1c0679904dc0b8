"""The sample data keeps its promises: valid events, all categories in both languages, gold tags for every live note, coherent readers."""

import re
from collections import Counter
from pathlib import Path

import pytest

from offline.samples import load
from schemas.codec import decoder
from schemas.events import CATEGORIES, Interaction, NoteEvent
from schemas.keys import note_key

NOW = 1_900_000_000_000
HOUR = 3_600_000
CJK = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def notes() -> list[NoteEvent]:
    return load.sample_notes()


@pytest.fixture(scope="module")
def published(notes: list[NoteEvent]) -> dict[str, NoteEvent]:
    return {note.note_id: note for note in notes if note.type == "note.published"}


@pytest.fixture(scope="module")
def deleted(notes: list[NoteEvent]) -> set[str]:
    return {note.note_id for note in notes if note.type == "note.deleted"}


@pytest.mark.parametrize(("name", "kind"), [("notes.jsonl", NoteEvent), ("interactions.jsonl", Interaction)])
def test_every_line_is_an_event_as_published(name: str, kind: type) -> None:
    decode = decoder(kind)
    events = [decode(line, None) for line in (load.HERE / name).read_bytes().splitlines()]
    assert len(events) > 80


def test_both_streams_are_in_order_of_time(notes: list[NoteEvent]) -> None:
    assert [note.occurred_at for note in notes] == sorted(note.occurred_at for note in notes)
    sent_once = list(dict.fromkeys((event.event_id, event.occurred_at) for event in load.load_interactions(NOW)))
    assert [at for _, at in sent_once] == sorted(at for _, at in sent_once)


def test_all_categories_in_both_languages(published: dict[str, NoteEvent]) -> None:
    gold = load.load_gold()
    assert len(gold) >= 72
    count = Counter((entry.category, entry.language) for entry in gold)
    for category in CATEGORIES:
        assert count[category, "en"] >= 2, category
        assert count[category, "zh"] >= 2, category
    without = [entry for entry in gold if published[entry.note_id].category is None]
    assert Counter(entry.language for entry in without) == {"en": 3, "zh": 3}
    assert all(published[entry.note_id].category in (entry.category, None) for entry in gold)


def test_texts_have_the_length_of_real_notes(published: dict[str, NoteEvent]) -> None:
    for note in published.values():
        if CJK.search(note.title):
            assert 60 <= len(note.body) <= 160, note.note_id
        else:
            assert 40 <= len(note.body.split()) <= 120, note.note_id
            assert 4 <= len(note.title.split()) <= 14, note.note_id


def test_awkward_ids_updates_deletions_and_a_repost(notes: list[NoteEvent], published: dict[str, NoteEvent], deleted: set[str]) -> None:
    text = "".join(published)
    assert all(character in text for character in ' "{}/')
    assert CJK.search(text)
    assert len({note_key(note_id) for note_id in published}) == len(published)
    later = [note for note in notes if note.type != "note.published"]
    assert Counter(note.type for note in later) == {"note.updated": 3, "note.deleted": 2}
    assert all(note.occurred_at > published[note.note_id].occurred_at for note in later)
    assert all(note != published[note.note_id] for note in later)
    reposts = [
        (a.note_id, b.note_id)
        for a in published.values()
        for b in published.values()
        if a.note_id < b.note_id and a.author_id != b.author_id and _overlap(a.body, b.body) > 0.8
    ]
    assert len(reposts) == 1
    assert len(deleted) == 2


def _overlap(a: str, b: str) -> float:
    left, right = set(a.split()), set(b.split())
    return len(left & right) / len(left | right)


def test_gold_covers_the_live_notes(published: dict[str, NoteEvent], deleted: set[str]) -> None:
    gold = load.load_gold()
    assert sorted(entry.note_id for entry in gold) == sorted(set(published) - deleted)
    for entry in gold:
        texts = [tag.text for tag in entry.tags]
        assert 5 <= len(texts) <= 10, entry.note_id
        assert len({text.casefold() for text in texts}) == len(texts), entry.note_id
        assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", tag.dimension) for tag in entry.tags), entry.note_id
        assert all(bool(CJK.search(text)) == (entry.language == "zh") for text in texts), entry.note_id
        assert all(1 < len(text) <= 45 for text in texts), entry.note_id


def test_gold_is_mostly_but_not_only_verbatim(published: dict[str, NoteEvent]) -> None:
    verbatim = []
    for entry in load.load_gold():
        note = published[entry.note_id]
        parts = [note.title, note.body, *(f"{card.name} {card.brand} {card.description}" for card in note.products)]
        text = " ".join(parts).casefold()
        verbatim += [tag.text.casefold() in text for tag in entry.tags]
    assert 0.6 < sum(verbatim) / len(verbatim) < 0.9


def test_interactions_follow_their_notes_and_make_sense(published: dict[str, NoteEvent]) -> None:
    events = load.load_interactions(NOW)
    notes = {note.note_id: note for note in load.load_notes(Path("media"), NOW) if note.type == "note.published"}
    assert len(events) >= 400
    assert len({event.user_id for event in events}) >= 12
    assert {"impression", "click", "view", "like", "favorite", "unlike", "unfavorite", "comment", "share"} == {e.action for e in events}
    held = set()
    for event in events:
        assert event.occurred_at > notes[event.note_id].published_at
        assert (event.dwell_ms is not None) == (event.action == "view")
        if event.action in ("like", "favorite"):
            held.add((event.user_id, event.note_id, event.action))
        if event.action.startswith("un"):
            held.remove((event.user_id, event.note_id, event.action.removeprefix("un")))
    assert Counter(Counter(event.event_id for event in events).values())[2] == 1
    untouched = set(published) - {event.note_id for event in events}
    assert 0.25 < len(untouched) / len(published) < 0.4


@pytest.mark.parametrize(
    ("reader", "wanted"),
    [("u-runner-en", {"n-shoes-05", "n-fitness-02"}), ("u-beauty-zh", {"n-beauty-06", "n-beauty-07"})],
)
def test_showcase_readers_have_fresh_notes_to_find(reader: str, wanted: set[str]) -> None:
    assert reader in load.SHOWCASE_READERS
    notes = {note.note_id: note for note in load.load_notes(Path("media"), NOW) if note.type == "note.published"}
    events = load.load_interactions(NOW)
    mine = {event.note_id for event in events if event.user_id == reader and event.action == "favorite"}
    gold = {entry.note_id: {tag.text for tag in entry.tags} for entry in load.load_gold()}
    liked = set().union(*(gold[note_id] for note_id in mine))
    for note_id in wanted:
        assert note_id not in {event.note_id for event in events}
        assert NOW - notes[note_id].published_at < 12 * HOUR
    assert any(len(gold[note_id] & liked) >= 1 for note_id in wanted)


def test_loading_moves_everything_to_now_and_keeps_distances(notes: list[NoteEvent]) -> None:
    media = Path("/somewhere/else/media")
    loaded = load.load_notes(media, NOW)
    events = load.load_interactions(NOW)
    assert max(event.occurred_at for event in [*loaded, *events]) == NOW
    shifts = {new.occurred_at - old.occurred_at for new, old in zip(loaded, notes, strict=True)}
    shifts |= {new.published_at - old.published_at for new, old in zip(loaded, notes, strict=True)}
    assert len(shifts) == 1
    fresh = [note for note in loaded if note.type == "note.published" and NOW - note.published_at < 24 * HOUR]
    assert len(fresh) >= 30
    uris = [uri for note in loaded for uri in (*note.images, *note.videos)]
    assert len(uris) > 200
    assert all(uri.startswith("file:///somewhere/else/media/") for uri in uris)
