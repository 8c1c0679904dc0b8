"""Public data as events: small files of our own, and the real ones in TAGSTREAM_TEST_DATA (default ../shared/data)."""

import csv
import json
import os
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from offline import datasets
from offline.convert_dataset import convert_dataset, dataset
from offline.recall_data import load_dataset
from schemas.codec import decoder
from schemas.errors import InvalidEvent, MissingPrerequisite
from schemas.events import Interaction, NoteEvent

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAGSTREAM_TEST_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no public data in {DATA}; set TAGSTREAM_TEST_DATA to run on it")
AGENT = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_2) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/52.0 Safari/537.36"


def write_csv(path: Path, header: str, *rows: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def small_movielens(root: Path, ratings: list[list[object]]) -> tuple[Path, Path]:
    ml, tmdb = root / "ml-latest-small", root / "tmdb-5000"
    write_csv(ml / "links.csv", "movieId,imdbId,tmdbId", [1, "01", 862], [2, "02", ""], [3, "03", 863], [4, "04", 999])
    write_csv(ml / "ratings.csv", "userId,movieId,rating,timestamp", *ratings)
    companies, keywords = json.dumps([{"name": "Example", "id": 7}]), json.dumps([{"id": 1, "name": "toy comes to life"}])
    write_csv(
        tmdb / "tmdb_5000_movies.csv",
        "id,title,overview,tagline,keywords,production_companies",
        [863, "Second", "", 'Only a "tagline",\nin two lines', "[]", "[]"],
        [862, "Première", "Toys, alive.", "t", keywords, companies],
        [5, "Not in MovieLens", "x", "", "[]", "[]"],
    )
    return ml, tmdb


def small_deskdrop(root: Path, *rows: list[object]) -> Path:
    write_csv(root / datasets.DESKDROP_CSV, "timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry", *rows)
    return root


RATINGS: list[list[object]] = [[1, 1, 4.5, 200], [2, 1, 3.5, 100], [1, 3, 5.0, 50], [1, 2, 4.0, 10], [3, 1, 2.5, 100], [3, 4, 5.0, 1]]


def test_films_are_notes_published_when_first_rated(tmp_path: Path) -> None:
    places = small_movielens(tmp_path, RATINGS)
    notes = list(datasets.movielens_notes(*places))
    assert [(note.note_id, note.title, note.published_at, note.author_id) for note in notes] == [
        ("ml-3", "Second", 50_000, "studio-unknown"),
        ("ml-1", "Première", 100_000, "studio-7"),
    ]
    assert [note.body for note in notes] == ['Only a "tagline",\nin two lines', "Toys, alive."]
    assert {note.category for note in notes} == {"media"}
    assert datasets.movielens_keywords(*places) == {"ml-1": ["toy comes to life"], "ml-3": []}


def test_ratings_are_actions_in_order_of_time(tmp_path: Path) -> None:
    events = list(datasets.movielens_interactions(*small_movielens(tmp_path, RATINGS)))
    assert [(e.event_id, e.user_id, e.note_id, e.action, e.occurred_at) for e in events] == [
        ("ml-1-3", "ml-u1", "ml-3", "favorite", 50_000),
        ("ml-2-1", "ml-u2", "ml-1", "click", 100_000),
        ("ml-3-1", "ml-u3", "ml-1", "view", 100_000),
        ("ml-1-1", "ml-u1", "ml-1", "like", 200_000),
    ]


def small_citeulike(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "tags.dat").write_text("red\ngreen\nblue\n")
    (root / "item-tag.dat").write_text("2 0 1\n1 2\n0\n2 2 2\n")
    (root / "users.dat").write_text("2 0 1\n3 3 0 2\n")
    return root


def test_libraries_are_favorites_of_notes_with_the_tags_given(tmp_path: Path) -> None:
    small_citeulike(tmp_path / "citeulike-a")
    assert convert_dataset("citeulike", tmp_path, tmp_path / "out")[:3] == ("citeulike", 4, 5)
    assert load_dataset(tmp_path / "out").tags == [["red", "green"], ["blue"], [], ["blue"]]
    whole, again = load_dataset(tmp_path / "citeulike-a"), load_dataset(tmp_path / "out")
    assert (again.notes, again.readers) == (whole.notes, whole.readers)
    for name in ("reader", "note", "weight", "liked"):
        assert np.array_equal(getattr(again.actions, name), getattr(whole.actions, name)), name


def test_parts_are_apart_and_together_all(tmp_path: Path) -> None:
    small_citeulike(tmp_path)
    parts = []
    for number in (1, 2, 3):
        out = tmp_path / f"part{number}"
        answer = CliRunner().invoke(dataset, ["citeulike", str(tmp_path), "--out", str(out), "--part", f"{number}/3", "--json"])
        assert answer.exit_code == 0, answer.output
        parts.append(load_dataset(out))
        assert json.loads(answer.stdout)["notes"] == len(parts[-1].notes)
    assert [part.notes for part in parts] == [["cu-0", "cu-3"], ["cu-1"], ["cu-2"]]
    assert [len(part.actions.note) for part in parts] == [3, 1, 1]
    for text in ("0/3", "4/3", "3", "a/3", "1/0", "1/2/3"):
        wrong = CliRunner().invoke(dataset, ["citeulike", str(tmp_path), "--out", str(tmp_path / "no"), "--part", text])
        assert wrong.exit_code == 2 and "--part" in wrong.stderr, text


halves = st.integers(1, 10).map(lambda n: n / 2)
rated = st.dictionaries(st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 3, 4])), st.tuples(halves, st.integers(0, 10**9)), min_size=1)


@settings(max_examples=25)
@given(rated)
def test_any_ratings_keep_order_and_meaning(ratings: dict[tuple[int, int], tuple[float, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        places = small_movielens(Path(root), [[user, movie, rating, at] for (user, movie), (rating, at) in ratings.items()])
        events = list(datasets.movielens_interactions(*places))
        notes = {note.note_id: note for note in datasets.movielens_notes(*places)}
    assert [e.occurred_at for e in events] == sorted(e.occurred_at for e in events)
    assert {e.event_id for e in events} == {f"ml-{user}-{movie}" for user, movie in ratings if movie in (1, 3)}
    for event in events:
        rating, _ = ratings[int(event.user_id[4:]), int(event.note_id[3:])]
        assert (event.action in ("like", "favorite")) == (rating >= 4)
        assert (event.action == "view") == (rating < 3)
        assert notes[event.note_id].published_at <= event.occurred_at


def test_deskdrop_kinds_ids_and_order(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        [300, "VIEW", "-5", "u", "s", AGENT, "SP", "BR"],
        [300, "DISLIKE", "-5", "u", "s", "", "", ""],
        [200, "LIKE", "-5", "u", "s", "", "", ""],
        [300, "BOOKMARK", "6", "v", "", "", "", ""],
        [301, "COMMENT CREATED", "6", "v", "s", "", "?", "XY"],
        [301, "FOLLOW", "6", "v", "s", "", "", ""],
    ]
    place = small_deskdrop(tmp_path, *rows)
    events = list(datasets.deskdrop_interactions(place))
    assert [(e.event_id, e.action, e.occurred_at) for e in events] == [
        ("dd-4", "like", 200_000),
        ("dd-2", "click", 300_000),
        ("dd-5", "favorite", 300_000),
        ("dd-6", "comment", 301_000),
        ("dd-7", "share", 301_000),
    ]
    notes = list(datasets.deskdrop_notes(place))
    assert [(note.note_id, note.published_at) for note in notes] == [("dd--5", 200_000), ("dd-6", 300_000)]
    assert all("device not recorded" in note.body for note in notes)


def test_deskdrop_notes_tell_what_is_known_of_the_first_opening(tmp_path: Path) -> None:
    place = small_deskdrop(tmp_path, [1_457_963_676, "VIEW", "9", "u", "s", AGENT, "SP", "BR"])
    (note,) = datasets.deskdrop_notes(place)
    assert note.title == "Article first opened on a Monday afternoon"
    assert note.body == "First opened on 14 March 2016, in Brazil, region SP, with Mac and Chrome."


def test_a_zip_reads_like_the_plain_file(tmp_path: Path) -> None:
    plain = small_deskdrop(tmp_path / "plain", [5, "VIEW", "1", "u", "s", "", "", ""])
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / datasets.DESKDROP_ZIP, "w") as archive:
        archive.write(plain / datasets.DESKDROP_CSV, datasets.DESKDROP_CSV)
    assert list(datasets.deskdrop_interactions(packed)) == list(datasets.deskdrop_interactions(plain))


def test_unknown_kinds_and_missing_files_are_named(tmp_path: Path) -> None:
    strange = small_deskdrop(tmp_path / "strange", [5, "VIEW", "1", "u", "s", "", "", ""], [5, "BOUGHT", "1", "u", "s", "", "", ""])
    with pytest.raises(InvalidEvent, match="line 3, eventType: 'BOUGHT'"):
        list(datasets.deskdrop_interactions(strange))
    with pytest.raises(MissingPrerequisite, match=r"users_interactions\.zip is missing"):
        list(datasets.deskdrop_notes(tmp_path))
    ml, tmdb = small_movielens(tmp_path, RATINGS)
    (ml / "ratings.csv").unlink()
    with pytest.raises(MissingPrerequisite, match=r"ratings\.csv is missing"):
        list(datasets.movielens_notes(ml, tmdb))
    write_csv(ml / "ratings.csv", "userId,movieId,rating", [1, 1, 4])
    with pytest.raises(MissingPrerequisite, match="column timestamp is missing"):
        list(datasets.movielens_interactions(ml, tmdb))


def test_command_writes_our_layout(tmp_path: Path) -> None:
    small_movielens(tmp_path, RATINGS)
    out = tmp_path / "out"
    done = CliRunner().invoke(dataset, ["movielens", str(tmp_path), "--out", str(out), "--json"], catch_exceptions=False)
    answer = json.loads(done.stdout)
    assert (answer["notes"], answer["interactions"]) == (2, 4)
    lines = (out / "notes.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["tags"] for line in lines] == [[], ["toy comes to life"]]
    assert [decoder(NoteEvent)(line, None) for line in lines] == list(
        datasets.movielens_notes(tmp_path / "ml-latest-small", tmp_path / "tmdb-5000")
    )
    assert len((out / "interactions.jsonl").read_bytes().splitlines()) == 4
    with pytest.raises(MissingPrerequisite):
        convert_dataset("deskdrop", tmp_path, tmp_path / "none")


@needs_data
def test_real_deskdrop_stream_is_whole() -> None:
    place = DATA / "deskdrop-interactions"
    events = list(datasets.deskdrop_interactions(place))
    assert Counter(event.action for event in events) == {
        "click": 61_086,
        "like": 5_745,
        "favorite": 2_463,
        "comment": 1_611,
        "share": 1_407,
    }
    assert len({event.event_id for event in events}) == 72_312
    assert len({event.user_id for event in events}) == 1_895
    first: dict[str, Interaction] = {}
    for event in events:
        first.setdefault(event.note_id, event)
    notes = list(datasets.deskdrop_notes(place))
    assert {note.note_id: note.published_at for note in notes} == {note_id: event.occurred_at for note_id, event in first.items()}
    assert len(notes) == 2_987


@needs_data
def test_real_films_and_ratings_belong_together() -> None:
    places = (DATA / "ml-latest-small", DATA / "tmdb-5000")
    notes = {note.note_id: note for note in datasets.movielens_notes(*places)}
    events = list(datasets.movielens_interactions(*places))
    assert len(notes) == 3_536
    assert all(note.body for note in notes.values())
    assert {event.note_id for event in events} == set(notes)
    assert len({event.event_id for event in events}) == len(events) == 70_194
    assert all(event.occurred_at >= notes[event.note_id].published_at for event in events)
