"""A split shares nothing between its sets, and the check finds what others share."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.roles import SeenImage, Spoken, Utterance
from offline.tag_data.cli import tag_data
from offline.tag_data.near_text import SIMILAR, shingles, similarity
from offline.tag_data.samples import Picture, Sample, keep_picture, media_of, read_samples, write_samples
from offline.tag_data.split import SETS
from offline.tag_data.split_samples import SplitSpec, find_leaks, sets_of, split_samples
from schemas.events import CATEGORIES, NoteEvent

LINES = (
    "今天终于入手了这双跑鞋，脚感软弹不磨脚，通勤和慢跑都合适",
    "今天终于入手了这双跑鞋，脚感软弹不磨脚，通勤和慢跑都很合适！",
    "A quiet corner of the old town, with coffee that tastes of oranges",
    "The quiet corner of the old town, with coffee that tastes of oranges.",
    "hello",
    "",
)


def picture(directory: Path, seed: int) -> Picture:
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return keep_picture(directory, SeenImage(np.asarray(Image.fromarray(small).resize((24, 24))), "image", 0))


def sample(directory: Path, number: int, author: int, line: int = 5, seen: int | None = None, spoken: int = 5) -> Sample:
    note = NoteEvent(
        type="note.published", note_id=f"n{number}", author_id=f"a{author}", occurred_at=1, published_at=1, body=LINES[line],
        category=CATEGORIES[number % 3],
    )  # fmt: skip
    speech = [Spoken(Utterance(LINES[spoken], 0, 1), "audio", 0)] if LINES[spoken] else []
    return Sample(note=note, speech=speech, pictures=[] if seen is None else [picture(directory, seen)])


def tied(one: Sample, other: Sample) -> bool:
    """As a reader would say it, from the samples alone."""
    notes = one.note, other.note
    if notes[0].note_id == notes[1].note_id or notes[0].author_id == notes[1].author_id:
        return True
    texts = [[made.note.body, *(said.utterance.text for said in made.speech)] for made in (one, other)]
    long = [[text for text in of if len(text) > 20] for of in texts]
    if any(similarity(shingles(left), shingles(right)) >= SIMILAR for left in long[0] for right in long[1]):
        return True
    return bool({item.file for item in one.pictures} & {item.file for item in other.pictures})


NUMBERS = st.tuples(
    st.integers(0, 60), st.integers(0, 40), st.sampled_from([5, 5, 5, 5, 4, 0, 1, 2, 3]), st.none() | st.integers(0, 30),
    st.sampled_from([5, 5, 5, 5, 0, 2]),
)  # fmt: skip


@settings(max_examples=20)
@given(st.lists(NUMBERS, min_size=1, max_size=20), st.integers(0, 2))
def test_sets_are_disjoint_complete_and_nothing_tied_is_torn(rows: list[tuple[int, int, int, int | None, int]], seed: int) -> None:
    with TemporaryDirectory() as place:
        source, out = Path(place) / "all", Path(place) / "sets"
        samples = [sample(source, *row) for row in rows]
        write_samples(source / "samples.jsonl", samples)
        report = split_samples(source, out, SplitSpec(seed=seed))
        sets = {name: list(read_samples(out / f"{name}.jsonl")) for name in SETS}
        assert {name: len(held) for name, held in sets.items()} == report.sets and report.left_out == 0
        together = [repr(one) for held in sets.values() for one in held]
        assert sorted(together) == sorted(map(repr, samples))
        for name, held in sets.items():
            others = [one for other, theirs in sets.items() if other != name for one in theirs]
            assert not any(tied(one, other) for one in held for other in others)
            for one in held:
                media_of(one, out)
        assert find_leaks(sets_of(out)).crossing == {}


def test_an_order_of_the_samples_stays_and_a_seed_decides(tmp_path: Path) -> None:
    samples = [sample(tmp_path, number, number) for number in range(60)]
    write_samples(tmp_path / "samples.jsonl", samples)
    found = []
    for seed in (1, 1, 2):
        split_samples(tmp_path, tmp_path, SplitSpec(seed=seed))
        found.append([[one.note.note_id for one in read_samples(path)] for path in sets_of(tmp_path)])
        order = [one.note.note_id for one in samples]
        assert all(ids == sorted(ids, key=order.index) for ids in found[-1])
    assert found[0] == found[1] != found[2]


def test_the_check_names_what_is_shared_and_exits_1(tmp_path: Path) -> None:
    sets = {
        "sft": [sample(tmp_path, 1, 1, 0), sample(tmp_path, 2, 2), sample(tmp_path, 3, 3, 2)],
        "dpo_pool": [sample(tmp_path, 1, 4), sample(tmp_path, 5, 2), sample(tmp_path, 6, 6, 5, 1)],
        "eval": [sample(tmp_path, 7, 7, 5, None, 2), sample(tmp_path, 8, 8, 1), sample(tmp_path, 9, 9, 5, 1), sample(tmp_path, 10, 10)],
    }
    for name, held in sets.items():
        write_samples(tmp_path / f"{name}.jsonl", held)
    result = CliRunner().invoke(tag_data, ["split", str(tmp_path), "--check", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and report["crossing"] == {"note": 2, "author": 2, "text": 4, "picture": 2}
    named = {(one["kind"], one["left_note"], one["right_note"]) for one in report["examples"]}
    assert named == {("note", "n1", "n1"), ("author", "n2", "n5"), ("text", "n1", "n8"), ("text", "n3", "n7"), ("picture", "n6", "n9")}
    told = CliRunner().invoke(tag_data, ["split", str(tmp_path), "--check", "--links", "author"])
    assert told.exit_code == 1 and "'n2' of sft and 'n5' of dpo_pool" in told.stdout and "picture" not in told.stdout
    clean = CliRunner().invoke(tag_data, ["split", str(tmp_path / "sft.jsonl"), str(tmp_path / "eval.jsonl"), "--check", "--links", "note"])
    assert clean.exit_code == 0 and "nothing is shared" in clean.stdout


def test_the_command_splits_and_tells_of_a_giant(tmp_path: Path) -> None:
    source, out = tmp_path / "all", tmp_path / "sets"
    samples = [sample(source, number, min(number, 30), seen=number % 2) for number in range(40)]
    write_samples(source / "samples.jsonl", samples)
    (source / "truth.jsonl").write_text("{}\n")
    result = CliRunner().invoke(tag_data, ["split", str(source), "--out", str(out), "--links", "note,author", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 0 and report["sets"] == {"sft": 30, "dpo_pool": 5, "eval": 5}
    assert (report["largest"], report["held_by"]) == (10, {"author": 9})
    assert "10 of 40 samples hang together (9 by author)" in result.stderr
    assert (out / "truth.jsonl").read_text() == "{}\n"
    counts = ["--sft", "4", "--dpo", "2", "--eval", "1", "--links", "note"]
    shown = CliRunner().invoke(tag_data, ["split", str(source), "--out", str(out), *counts])
    assert "33 left out" in shown.stdout and [len(list(read_samples(path))) for path in sets_of(out)] == [4, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--out", "x", "--links", "hair"], "note, author"),
        ([], "--out DIR"),
        (["--check"], "no two sets"),
        (["--out", "x", "--sft", ".5"], "is not 1"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    write_samples(tmp_path / "samples.jsonl", [sample(tmp_path, 1, 1)])
    result = CliRunner().invoke(tag_data, ["split", str(tmp_path), *arguments])
    assert result.exit_code != 0 and complaint in f"{result.output}{result.exception}"
