"""Samples of tag data come back as they were written."""

from pathlib import Path

import numpy as np
import pytest

from models.roles import SeenImage, Spoken, Utterance
from offline.tag_data.samples import Sample, Told, answer_text, keep_picture, media_of, read_samples, write_samples
from schemas.errors import BadSetting, MissingPrerequisite
from schemas.events import NoteEvent

NOTE = NoteEvent(type="note.published", note_id="n", author_id="a", occurred_at=1, published_at=1, title="红鞋")
TOLD = Told("红鞋", "shoe_type", "title")


def seen(seed: int, shape: tuple[int, int] = (9, 7)) -> SeenImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    return SeenImage(pixels, "image", seed)


def test_a_sample_comes_back_with_its_pictures_to_the_bit(tmp_path: Path) -> None:
    speech = [Spoken(Utterance("hello", 0, 10, "en"), "audio", 0)]
    pictures = [seen(0), seen(1)]
    sample = Sample(
        note=NOTE, pictures=[keep_picture(tmp_path, one) for one in pictures], speech=speech, tags=[TOLD], degraded=["video: gone"]
    )
    assert write_samples(tmp_path / "samples.jsonl", [sample]) == 1
    [again] = read_samples(tmp_path / "samples.jsonl")
    assert again == sample
    media = media_of(again, tmp_path)
    assert all(np.array_equal(one.pixels, two.pixels) for one, two in zip(media.images, pictures, strict=True))
    assert (media.speech, media.degraded, [one.position for one in media.images]) == (speech, ["video: gone"], [0, 1])


def test_pictures_of_one_content_share_a_file_and_of_another_shape_do_not(tmp_path: Path) -> None:
    one = seen(0, (6, 4))
    turned = SeenImage(one.pixels.reshape(4, 6, 3), "image", 0)
    files = [keep_picture(tmp_path, picture).file for picture in (one, one, turned)]
    assert files[0] == files[1] != files[2]


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with pytest.raises(MissingPrerequisite, match="tag-data extract"):
        list(read_samples(path))
    path.write_bytes(b'{"note": 1}\n')
    with pytest.raises(BadSetting, match=r"line 1: .*\$\.note"):
        list(read_samples(path))
    sample = Sample(note=NOTE, pictures=[keep_picture(tmp_path, seen(0))])
    (tmp_path / sample.pictures[0].file).unlink()
    with pytest.raises(MissingPrerequisite, match="pictures"):
        media_of(sample, tmp_path)


def test_an_answer_has_the_order_of_the_schema() -> None:
    assert answer_text([TOLD]) == '[{"text":"红鞋","dimension":"shoe_type","source":"title"}]'
