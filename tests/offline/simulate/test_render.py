"""Simulated media: there is something to see, it differs with the truth, and voices are spoken where espeak-ng is."""

import wave
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from offline.samples.drawing import COLOURS
from offline.simulate import render, voice
from offline.simulate.notes import Community
from offline.simulate.truth import Scene, Truth, Voice
from schemas.errors import MissingPrerequisite

PLAIN = Scene(object="shoe", colour="crimson", accent="white", pattern="plain", label="ZEPHYR 3")
COMMUNITY = Community(7)


def truth_of(*scenes: Scene, shots: tuple[Scene, ...] = ()) -> Truth:
    return Truth(note_id="n", category="shoes", language="en", quality=0.5, images=list(scenes), shots=list(shots))


def changed(a: Scene, b: Scene) -> float:
    """Share of pixels that differ visibly between two pictures of one note."""
    one, other = (render.picture(truth_of(scene), 0).astype(int) for scene in (a, b))
    return float((np.abs(one - other).max(axis=2) > 40).mean())


def test_pictures_differ_by_colour_shape_pattern_and_label_only_if_these_do() -> None:
    replace = msgspec.structs.replace
    assert changed(PLAIN, PLAIN) == 0
    assert changed(PLAIN, replace(PLAIN, colour="teal")) > 0.05
    assert changed(PLAIN, replace(PLAIN, object="boot")) > 0.05
    assert changed(PLAIN, replace(PLAIN, pattern="dots")) > 0.005
    assert changed(PLAIN, replace(PLAIN, label="RETRO")) > 0.002


def test_a_picture_shows_its_colour() -> None:
    picture = render.picture(truth_of(PLAIN), 0).astype(int)
    assert (np.abs(picture - np.array(COLOURS["crimson"])).max(axis=2) < 40).mean() > 0.03
    assert picture.std() > 10


def test_a_clip_shows_the_companion_in_its_middle_shot() -> None:
    companion = msgspec.structs.replace(PLAIN, object="boot", colour="navy")
    frames = [frame.astype(int) for frame in render.clip(truth_of(shots=(PLAIN, companion, PLAIN)))]
    navy = [float((np.abs(frame - np.array(COLOURS["navy"])).max(axis=2) < 40).mean()) for frame in frames]
    third = len(frames) // 3
    assert min(navy[third : 2 * third]) > 0.02
    assert max(navy[:third] + navy[2 * third :]) < 0.01
    assert len(list(render.clip(truth_of(shots=(PLAIN, PLAIN))))) == 2 * third


def test_a_note_carries_its_media_as_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "espeak", lambda: None)
    note = next(note for note in COMMUNITY.notes(500) if note.truth.shots and len(note.truth.images) == 2 and note.truth.spoken)
    event = render.render_note(note, tmp_path)
    assert event == msgspec.structs.replace(note.event, images=event.images, videos=event.videos)
    assert event.audios == [], "without espeak-ng the note goes without its voice"
    paths = [Path(uri.removeprefix("file://")) for uri in event.images + event.videos]
    assert len(paths) == 3
    first = [path.read_bytes() for path in paths]
    assert cv2.imread(str(paths[0])).shape == (512, 512, 3)
    assert cv2.VideoCapture(str(paths[2])).get(cv2.CAP_PROP_FRAME_COUNT) == 13 * len(note.truth.shots)
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert render.render_note(note, tmp_path) == event
    assert [path.stat().st_mtime_ns for path in paths] == stamps, "what is there is kept"
    for path in paths:
        path.unlink()
    render.render_note(note, tmp_path)
    assert [path.read_bytes() for path in paths] == first
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_chinese_is_spoken_as_pinyin() -> None:
    assert voice.pinyin("大家好，聊聊牛肉面。") == "da4 jia1 hao3 , liao2 liao2 niu2 rou4 mian4 ."


def test_a_missing_voice_program_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "espeak", lambda: None)
    with pytest.raises(MissingPrerequisite, match="apt-get install espeak-ng"):
        voice.speak("Hello.", "en", Voice(name="en-us+f1", pitch=50, speed=150), tmp_path / "x.wav")


@pytest.mark.skipif(voice.espeak() is None, reason="espeak-ng is not installed")
def test_voices_are_spoken_in_both_languages(tmp_path: Path) -> None:
    heard: dict[str, bytes] = {}
    for language in ("en", "zh"):
        note = next(note for note in COMMUNITY.notes(300) if note.truth.spoken and note.truth.language == language)
        event = render.render_note(note, tmp_path)
        path = Path(event.audios[0].removeprefix("file://"))
        with wave.open(str(path)) as sound:
            assert sound.getnframes() / sound.getframerate() > 2
            samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        assert np.abs(samples).max() > 1000
        heard[language] = path.read_bytes()
    assert heard["en"] != heard["zh"]
    with pytest.raises(MissingPrerequisite, match="no-such-voice"):
        voice.speak("x", "en", Voice(name="no-such-voice", pitch=50, speed=150), tmp_path / "x.wav")
