"""Sample media: drawable for every note, the same bytes each time, drawn again only where needed."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from offline.samples import render
from offline.samples.drawing import COLOURS, PATTERNS, SIZE, Look, Placing, background, draw_object, silhouettes
from offline.samples.load import sample_notes

CHOSEN = ("shoes-01-0.jpg", "beauty-04-2.jpg", "food-01.mp4")


@pytest.fixture
def three_files(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [drawing for drawing in render.planned() if drawing.name in CHOSEN]
    monkeypatch.setattr(render, "planned", lambda: iter(chosen))


def test_every_note_can_be_drawn() -> None:
    notes = [note for note in sample_notes() if note.type != "note.deleted"]
    for note in notes:
        look = render.look_of(note)
        assert look.object in silhouettes()
        assert {look.colour, look.accent} <= COLOURS.keys()
        assert look.pattern in PATTERNS
        assert look.label.isascii()
        assert note.images
    names = [drawing.name for drawing in render.planned()]
    assert len(names) == len(set(names))
    assert sum(name.endswith(".mp4") for name in names) >= 12


def test_a_second_run_keeps_what_is_there_and_mends_the_rest(three_files: None, tmp_path: Path) -> None:
    assert sorted(render.render_media(tmp_path).drawn) == sorted(CHOSEN)
    first = {name: (tmp_path / name).read_bytes() for name in CHOSEN}
    assert sorted(render.render_media(tmp_path).kept) == sorted(CHOSEN)
    (tmp_path / CHOSEN[0]).write_bytes(first[CHOSEN[0]][:1000])
    (tmp_path / CHOSEN[1]).unlink()
    again = render.render_media(tmp_path)
    assert (sorted(again.drawn), again.kept) == (sorted(CHOSEN[:2]), [CHOSEN[2]])
    assert {name: (tmp_path / name).read_bytes() for name in CHOSEN} == first


def test_an_interrupted_run_goes_on_where_it_stopped(three_files: None, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render.render_media(tmp_path, stop)
    assert len(render.render_media(tmp_path).kept) == 2


def test_pictures_show_the_colour_of_the_note() -> None:
    share = {}
    for colour in ("crimson", "teal"):
        picture = render.draw_view(Look("shoe", colour, "white", "plain", "X"), 0, seed=3).astype(int)
        hue = np.array(COLOURS["crimson"])
        share[colour] = (np.abs(picture - hue).max(axis=2) < 40).mean()
    assert share["crimson"] > 0.03
    assert share["teal"] < 0.001


@pytest.mark.parametrize("name", sorted(silhouettes()))
def test_every_silhouette_fits_its_square(name: str) -> None:
    look = Look(name, "crimson", "white", "plain", "X")
    empty = background(look, np.random.default_rng(0))
    picture = empty.copy()
    draw_object(picture, look, Placing(0.5, 0.5, 0.7))
    changed = (picture != empty).any(axis=2)
    assert 0.04 < changed.mean() < 0.6
    assert not changed[:20].any()
    assert not changed[:, :20].any()
    assert picture.shape == (SIZE, SIZE, 3)


def test_clips_have_three_shots_with_hard_cuts(three_files: None, tmp_path: Path) -> None:
    render.render_media(tmp_path)
    clip = cv2.VideoCapture(str(tmp_path / "food-01.mp4"))
    frames = []
    while (read := clip.read())[0]:
        frames.append(read[1].astype(np.float32))
    seconds = len(frames) / clip.get(cv2.CAP_PROP_FPS)
    assert 2 <= seconds <= 4
    steps = [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(frames)]
    cuts = sorted(np.argsort(steps)[-2:] + 1)
    assert cuts == [render.SHOT_FRAMES, 2 * render.SHOT_FRAMES]
    assert sorted(steps)[-2] > 2 * sorted(steps)[-3]
