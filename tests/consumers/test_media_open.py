"""A note's media opened: the shared budget, what is missing by name, and a decoder that may die."""

import os
import signal

import msgspec
import numpy as np
import pytest

from benchmarks.edits import Edit, Shot, write
from consumers.media import decoder as decoding
from consumers.media.decoder import Decoder
from consumers.media.fetch import Fetcher
from consumers.media.limits import MediaLimits
from consumers.media.open_note import MOST_AUDIOS, open_media
from consumers.media.results import Refusal
from models.frames import FrameSpec
from models.sound import SoundSpec
from schemas.events import NoteEvent
from tests.consumers.media_server import png, png_bomb, wav

WAV = wav(0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six pictures, one bomb, a text named like a picture, a clip of six shots, half a clip, a broken one, a voice."""
    root = tmp_path_factory.mktemp("media")
    for number in range(6):
        (root / f"{number}.png").write_bytes(png(20 + number, 10))
    (root / "bomb.png").write_bytes(png_bomb(12_000, 6_000))
    (root / "text.png").write_text("no picture at all")
    whole = write(Edit("clip", [Shot(scene, 12) for scene in range(6)]), 4, root / "clip.avi").read_bytes()
    (root / "half.avi").write_bytes(whole[: len(whole) // 2])
    write(Edit("clip", [Shot(scene, 12) for scene in range(2)]), 5, root / "two.mp4")
    (root / "broken.mp4").write_bytes((root / "two.mp4").read_bytes()[:3000])
    (root / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (root / "voice.wav").write_bytes(WAV)
    return root


@pytest.fixture(scope="module")
def limits(root):
    return MediaLimits(roots=(root,), images=6, frames=FrameSpec(partial=True))


@pytest.fixture(scope="module")
def decoder(limits):
    with Decoder(limits) as running:
        yield running


def note_of(root, **media):
    uris = {field: [f"file://{root}/{name}" for name in names.split()] for field, names in media.items()}
    return NoteEvent(type="note.published", note_id="n", author_id="a", occurred_at=1, published_at=1, **uris)


def opened(root, limits, decoder, **media):
    with Fetcher(limits) as fetcher:
        answer = open_media(note_of(root, **media), fetcher, decoder)
        assert all(file.path.exists() for file in answer.audios + answer.videos)
        assert len(answer.images) + len(answer.frames) <= limits.images
        return answer


def test_images_frames_and_voices(root, limits, decoder):
    found = opened(root, limits, decoder, images="0.png 1.png", videos="clip.avi", audios="voice.wav")
    assert [(item.index, item.image.shape) for item in found.images] == [(0, (10, 20, 3)), (1, (10, 21, 3))]
    assert found.images[0].image[5, 2].tolist() == [255, 0, 0], "RGB, red on the left"
    assert [item.index for item in found.frames] == [0] * 4 and len({item.frame.shot for item in found.frames}) == 4
    assert [item.index for item in found.audios] == [item.index for item in found.videos] == [0]
    assert [(item.source, item.index, len(item.samples)) for item in found.sounds] == [("audio", 0, 8_000)], "the clip has no sound"
    assert found.degraded == [] and not found.may_recover


@pytest.mark.parametrize(
    ("media", "images", "frames"),
    [
        ({"images": "0.png 1.png 2.png 3.png 4.png 5.png 0.png"}, [0, 1, 2, 3, 4, 5], 0),
        ({"images": "0.png 1.png 2.png 3.png 4.png 5.png", "videos": "clip.avi"}, [0, 1, 2], 3),
        ({"images": "0.png 1.png 2.png 3.png 4.png 5.png", "videos": "two.mp4"}, [0, 1, 2, 3], 2),
        ({"videos": "clip.avi"}, [], 6),
        ({"videos": "clip.avi two.mp4"}, [], 5),
        ({"images": "text.png bomb.png 2.png 3.png"}, [2, 3], 0),
        ({"images": "0.png 1.png 2.png 3.png 4.png 5.png", "videos": "broken.mp4"}, [0, 1, 2, 3, 4, 5], 0),
        ({}, [], 0),
    ],
)
def test_the_budget_is_shared(root, limits, decoder, media, images, frames):
    found = opened(root, limits, decoder, **media)
    assert [item.index for item in found.images] == images and len(found.frames) == frames


def test_what_is_missing_is_named_and_the_rest_is_there(root, limits, decoder):
    found = opened(
        root,
        limits,
        decoder,
        images="bomb.png 0.png text.png none.png voice.wav",
        videos="broken.mp4 list.mp4 0.png",
        audios="0.png voice.wav",
    )
    assert [item.index for item in found.images] == [1] and [item.index for item in found.audios] == [1]
    assert [(item.field, item.index, item.reason) for item in found.missing] == [
        ("images", 0, "refused, pixels"),
        ("images", 2, "refused, wrong_kind"),
        ("images", 3, "refused, not_found"),
        ("images", 4, "refused, wrong_kind"),
        ("videos", 0, "refused, undecodable"),
        ("videos", 1, "refused, wrong_kind"),
        ("videos", 2, "refused, wrong_kind"),
        ("audios", 0, "refused, wrong_kind"),
    ]
    assert found.degraded[0] == "image: refused, pixels (images[0]: 12000 x 6000 pixels, at most 50000000)"
    assert found.may_recover, "the file that is not there may come"
    assert not any(str(root) in line for line in found.degraded)


def test_half_a_video_gives_its_half_and_says_so(root, limits, decoder):
    found = opened(root, limits, decoder, videos="half.avi")
    assert found.frames and [item.reason for item in found.missing] == ["cut"]
    assert found.degraded[0].startswith("video: cut (videos[0]: truncated: ")


@pytest.mark.parametrize(
    ("spec", "reason"), [({"max_duration_s": 1.0}, "duration"), ({"max_frames": 20}, "frames"), ({"max_frame_pixels": 99}, "pixels")]
)
def test_videos_beyond_the_limits(root, limits, decoder, spec, reason):
    small = msgspec.structs.replace(limits, frames=FrameSpec(partial=True, **spec))
    with Decoder(small) as strict:
        found = opened(root, small, strict, videos="clip.avi", images="0.png")
    assert [item.reason for item in found.missing] == [f"refused, {reason}"] and len(found.images) == 1


def test_more_voices_than_are_taken_are_named(root, limits, decoder):
    found = opened(root, limits, decoder, audios=" ".join(["voice.wav"] * (MOST_AUDIOS + 2)))
    assert len(found.audios) == MOST_AUDIOS and [item.index for item in found.missing] == [MOST_AUDIOS, MOST_AUDIOS + 1]


def test_a_note_gets_no_more_sound_than_one_medium_may_have(root, limits, decoder):
    less = msgspec.structs.replace(limits, sound=SoundSpec(taken_s=0.75))
    found = opened(root, less, decoder, audios="voice.wav voice.wav voice.wav")
    assert [len(item.samples) for item in found.sounds] == [8_000, 4_000]
    assert [(item.index, item.reason, item.may_recover) for item in found.missing] == [(1, "cut", False), (2, "cut", False)]


def test_a_video_that_cannot_be_opened_is_named_once(root, limits, decoder):
    found = opened(root, limits, decoder, videos="broken.mp4")
    assert [(item.field, item.index, item.reason) for item in found.missing] == [("videos", 0, "refused, undecodable")]


def test_a_note_without_time_left_is_tagged_without_its_media(root, limits, decoder):
    found = opened(root, msgspec.structs.replace(limits, note_timeout_s=0.0), decoder, images="0.png", videos="clip.avi")
    assert {item.reason for item in found.missing} == {"refused, timeout"} and found.may_recover and not found.images


def test_a_note_has_one_time_for_decoding_all_its_media(root, limits, decoder):
    """The clock goes on by ten seconds at each look, so the second picture comes when the time is over."""
    ticks = iter(range(0, 1000, 10))
    with Fetcher(msgspec.structs.replace(limits, decode_s=9.0)) as fetcher:
        found = open_media(note_of(root, images="0.png 1.png"), fetcher, decoder, clock=lambda: next(ticks))
    assert [item.index for item in found.images] == [0]
    assert [(item.index, item.reason) for item in found.missing] == [(1, "refused, decode_timeout")]


def test_the_same_note_gives_the_same(root, limits, decoder):
    one, other = (opened(root, limits, decoder, images="0.png bomb.png", videos="clip.avi") for _ in range(2))
    assert [item.frame.position_ms for item in one.frames] == [item.frame.position_ms for item in other.frames]
    assert all(np.array_equal(a.frame.image, b.frame.image) for a, b in zip(one.frames, other.frames, strict=True))
    assert one.degraded == other.degraded


def test_a_decoder_that_dies_costs_one_medium(root, limits):
    with Decoder(limits) as mortal:
        mortal.image(root / "0.png")
        os.kill(mortal._child[0].pid, signal.SIGSEGV)
        mortal._child[0].wait()
        with pytest.raises(Refusal) as caught:
            mortal.image(root / "0.png")
        assert caught.value.refused.reason == "decoder_crashed"
        assert mortal.image(root / "0.png").shape == (10, 20, 3)
        pid = mortal._child[0].pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_decoder_that_hangs_is_ended(root, limits, monkeypatch):
    monkeypatch.setattr(decoding, "GRACE_S", 0.1)
    with Decoder(msgspec.structs.replace(limits, decode_s=60.0)) as stuck:
        stuck.image(root / "0.png")
        os.kill(stuck._child[0].pid, signal.SIGSTOP)
        stuck._limits = msgspec.structs.replace(limits, decode_s=0.1)
        with pytest.raises(Refusal) as caught:
            stuck.image(root / "0.png")
        assert caught.value.refused.reason == "decode_timeout"
