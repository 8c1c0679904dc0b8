"""Vectors of fixed lists of texts: encoded once, whatever process asks, and never taken from a file that is not theirs."""

from pathlib import Path

import numpy as np
import pytest

from models.handbook import load_handbook
from models.handbook_tagger import HandbookTagger
from models.kept_vectors import KeptVectors
from schemas.events import NoteEvent
from tests.models.hashing_encoder import HashingEncoder

TEXTS = ["red shoes", "缓震中底", ""]


def test_the_same_list_is_encoded_once_and_another_is_not_mistaken_for_it(tmp_path: Path) -> None:
    first = HashingEncoder()
    made = KeptVectors(first, tmp_path / "kept").encode(TEXTS)
    assert (made == HashingEncoder().encode(TEXTS)).all()
    second = HashingEncoder()
    again = KeptVectors(second, tmp_path / "kept")
    assert (again.encode(TEXTS) == made).all() and second.texts == 0
    for other in (TEXTS[::-1], TEXTS[:2], ["red", "shoes"]):
        assert (again.encode(other) == HashingEncoder().encode(other)).all()
    assert second.texts == 7
    third = HashingEncoder()
    third.version = "hashing-2"
    KeptVectors(third, tmp_path / "kept").encode(TEXTS)
    assert third.texts == len(TEXTS), "another encoder's vectors are not taken"
    assert not list((tmp_path / "kept").glob(".*")), "no unfinished file is left"


@pytest.mark.parametrize("damage", ["cut", "empty", "other shape", "no numbers"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    whole = KeptVectors(HashingEncoder(), tmp_path).encode(TEXTS)
    (path,) = tmp_path.iterdir()
    sound = path.read_bytes()
    if damage == "other shape":
        np.save(path, np.zeros((2, 64), np.float32))
    else:
        path.write_bytes({"cut": sound[:-10], "empty": b"", "no numbers": b"text"}[damage])
    assert (KeptVectors(HashingEncoder(), tmp_path).encode(TEXTS) == whole).all()
    assert path.read_bytes() == sound


def test_where_nothing_can_be_written_the_vectors_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert (KeptVectors(HashingEncoder(), tmp_path / "file" / "kept").encode(TEXTS) == HashingEncoder().encode(TEXTS)).all()


def test_a_second_tagger_encodes_only_the_note(tmp_path: Path) -> None:
    note = NoteEvent(
        type="note.published", note_id="n", author_id="a", occurred_at=0, published_at=0, title="Crimson running shoes", body="缓震中底"
    )  # fmt: skip
    plain = HandbookTagger(load_handbook(), HashingEncoder()).tag([note])
    spent = []
    for _ in range(2):
        encoder = HashingEncoder()
        assert HandbookTagger(load_handbook(), encoder, of_handbook=KeptVectors(encoder, tmp_path)).tag([note]) == plain
        spent.append(encoder.texts)
    assert spent[1] < 30 < spent[0]
