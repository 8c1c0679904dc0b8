"""The frame sampler: shots covered, budgets held, same answer every time, and no way to crash it with a broken file."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.edits import Edit, Shot, cases, write
from models.frames import FrameSpec, sample_frames
from models.frames.look import distance, hsv_difference, look_at
from models.frames.sample import SEEK_COST, plan_fixed, plan_runs
from models.frames.video import VideoIndex
from models.media_kind import sniff
from schemas.errors import InvalidMedia, MediaTooLarge

SHORT = FrameSpec(max_decoded=200)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Five shots of a second each, the third one repeating the first."""
    edit = Edit("clip", [Shot(scene, 25) for scene in (0, 1, 0, 2, 3)])
    return edit, write(edit, 1, tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """Twenty shots, 1,000 frames: more than ``SHORT`` decodes."""
    edit = Edit("long", [Shot(scene, 50) for scene in range(20)], fps=5)
    return edit, write(edit, 2, tmp_path_factory.mktemp("long") / "long.mp4")


def scenes(edit, sampled):
    return [edit.scene_at(frame.position_ms) for frame in sampled.frames]


def test_one_frame_per_shot_and_none_for_a_repeat(clip):
    edit, path = clip
    sampled = sample_frames(path, 8)
    assert scenes(edit, sampled) == [0, 1, 2, 3]
    assert [frame.shot for frame in sampled.frames] == [0, 1, 3, 4]
    assert sampled.cut == "" and sampled.decoded == 125 and sampled.duration_ms == 5000


def test_frames_are_rgb_and_hold_the_bound_of_pixels(clip):
    _, path = clip
    small = sample_frames(path, 2, FrameSpec(frame_pixels=4000)).frames[0].image
    frame = sample_frames(path, 2).frames[0]
    assert frame.image.shape == (144, 256, 3) and frame.image.dtype == np.uint8
    assert small.shape[0] * small.shape[1] <= 4000 and small.shape[1] / small.shape[0] == pytest.approx(256 / 144, rel=0.05)
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, round(frame.position_ms / 40))
    assert np.array_equal(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB), frame.image)
    capture.release()


def test_the_same_file_gives_the_same_frames(clip):
    _, path = clip
    one, other = (sample_frames(path, 3) for _ in range(2))
    assert [frame.position_ms for frame in one.frames] == [frame.position_ms for frame in other.frames]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one.frames, other.frames, strict=True))


@pytest.mark.parametrize(
    "name", ["very short shots", "fades through black", "flashes", "slow pans", "a single static shot", "many repeats"]
)
def test_shots_cover_at_least_what_the_fixed_rate_does(name, tmp_path):
    edit = next(edit for edit in cases(7) if edit.name == name)
    path = write(edit, 7, tmp_path / "edit.mp4")
    ours, fixed = (set(scenes(edit, sample_frames(path, edit.budget, FrameSpec(strategy=how)))) - {None} for how in ("shots", "fixed"))
    assert len(ours) >= len(fixed)
    assert len(ours) >= min(edit.budget, len({shot.scene for shot in edit.shots})) - 1


def test_a_static_shot_is_one_frame(tmp_path):
    path = write(Edit("still", [Shot(0, 60)]), 3, tmp_path / "still.avi")
    assert len(sample_frames(path, 8).frames) == 1


def test_an_all_black_video_still_has_a_frame(tmp_path):
    path = tmp_path / "black.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(30):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    sampled = sample_frames(path, 4)
    assert len(sampled.frames) == 1 and sampled.frames[0].image.max() < 30


def test_a_long_video_costs_its_budget_and_is_covered_over_its_length(long_clip):
    edit, path = long_clip
    sampled = sample_frames(path, 8, SHORT)
    assert sampled.decoded <= SHORT.max_decoded and sampled.cut == ""
    assert len(set(scenes(edit, sampled))) == len(sampled.frames) == 8
    quarters = {frame.position_ms * 4 // sampled.duration_ms for frame in sampled.frames}
    assert quarters == {0, 1, 2, 3}


def test_large_pictures_are_decoded_in_smaller_number(long_clip):
    _, path = long_clip
    spec = FrameSpec(max_megapixels=256 * 144 * 100 / 1e6)
    assert sample_frames(path, 4, spec).decoded <= 100


def test_the_fixed_rate_is_the_rate_and_spreads_where_the_budget_is_small(clip):
    _, path = clip
    by_rate = sample_frames(path, 20, FrameSpec(strategy="fixed", rate=2.0))
    assert [frame.position_ms for frame in by_rate.frames] == [int((n + 0.5) * 12.5) * 40 for n in range(10)]
    spread = sample_frames(path, 3, FrameSpec(strategy="fixed", rate=2.0))
    assert [frame.position_ms // 1000 for frame in spread.frames] == [0, 2, 4]


def test_the_safety_valve_is_said(clip):
    _, path = clip
    ticks = iter(np.arange(0.0, 1000.0, 1.0))
    sampled = sample_frames(path, 8, FrameSpec(max_seconds=60), clock=lambda: float(next(ticks)))
    assert "within 60 s" in sampled.cut and 0 < sampled.decoded <= 60 and sampled.frames


@pytest.mark.parametrize(
    ("spec", "what"),
    [(FrameSpec(max_duration_s=2), "duration"), (FrameSpec(max_frames=50), "frames"), (FrameSpec(max_frame_pixels=1000), "pixels")],
)
def test_too_large_is_refused_by_name(clip, spec, what):
    with pytest.raises(MediaTooLarge) as caught:
        sample_frames(clip[1], 4, spec)
    assert caught.value.what == what


@pytest.mark.parametrize(
    "text", ["", "no video", "#EXTM3U\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n", "v=0\r\nm=video"]
)
def test_texts_and_playlists_never_reach_the_decoder(tmp_path, text):
    path = tmp_path / "clip.mp4"
    path.write_text(text)
    with pytest.raises(InvalidMedia, match="not a video"):
        sample_frames(path, 4)


def test_a_missing_file_and_a_still_image_are_no_videos(tmp_path):
    with pytest.raises(InvalidMedia, match="cannot be read"):
        sample_frames(tmp_path / "none.mp4", 4)
    cv2.imwrite(str(tmp_path / "still.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InvalidMedia, match="png"):
        sample_frames(tmp_path / "still.png", 4)


def test_a_truncated_file_is_refused_or_taken_in_part(clip, tmp_path):
    edit, whole = clip
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(InvalidMedia, match="truncated or damaged"):
        sample_frames(cut, 4)
    avi = write(edit, 1, tmp_path / "whole.avi")
    part = tmp_path / "part.avi"
    part.write_bytes(avi.read_bytes()[: avi.stat().st_size // 2])
    with pytest.raises(InvalidMedia, match="truncated"):
        sample_frames(part, 4)
    sampled = sample_frames(part, 4, FrameSpec(partial=True))
    assert sampled.frames and sampled.cut.startswith("truncated")


def test_frames_that_do_not_decode_are_told_from_a_whole_file(tmp_path):
    """Motion JPEG: every packet of the second half keeps its place and loses its picture."""
    path = write(Edit("clip", [Shot(0, 30), Shot(1, 30)]), 6, tmp_path / "clip.avi")
    data = bytearray(path.read_bytes())
    half, at = len(data) // 2, 0
    while (at := data.find(b"\xff\xd8\xff", at + 1)) >= 0:
        if at > half:
            data[at : at + 800] = bytes(800)
    path.write_bytes(bytes(data))
    with pytest.raises(InvalidMedia, match="damaged: "):
        sample_frames(path, 4)
    sampled = sample_frames(path, 4, FrameSpec(partial=True))
    assert sampled.cut.startswith("damaged: ") and 1 <= len(sampled.frames) <= 2


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 255)), min_size=1, max_size=40), keep=st.floats(0.05, 1.0))
def test_damaged_bytes_give_frames_or_a_clear_error(clip, tmp_path, at, keep):
    damaged = bytearray(clip[1].read_bytes())
    for place, value in at:
        damaged[int(place * (len(damaged) - 1))] = value
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(damaged[: int(keep * len(damaged))]))
    try:
        sampled = sample_frames(path, 4, FrameSpec(partial=True))
    except InvalidMedia as error:
        assert str(error)
    else:
        assert 1 <= len(sampled.frames) <= 4


@given(
    packets=st.integers(1, 300_000),
    gop=st.integers(1, 5000),
    limit=st.integers(SEEK_COST, 5000),
    budget=st.integers(1, 32),
    fps=st.sampled_from([1.0, 25.0, 60.0]),
)
@example(packets=20, gop=1, limit=18, budget=5, fps=1.0)
def test_no_plan_costs_more_than_its_budget(packets, gop, limit, budget, fps):
    index = VideoIndex(64, 48, fps, packets, packets, np.arange(0, packets, gop))
    spec = FrameSpec(max_decoded=limit)
    for runs in (plan_runs(index, spec), plan_fixed(index, budget, spec)):
        cost, at = 0, 0
        for run in runs:
            assert at <= run.start < packets and run.length >= 1
            cost += min(run.start - at, index.cost(run.start) - 1) + run.length
            at = run.start + run.length
        assert cost <= limit
        assert at <= packets


def test_looks_tell_pictures_apart_and_not_brightness_steps():
    rng = np.random.default_rng(0)
    one, other = (cv2.resize(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8), (160, 90)) for _ in range(2))
    near = look_at(np.clip(one.astype(int) + 6, 0, 255).astype(np.uint8))
    a, b = look_at(one), look_at(other)
    assert distance(a, near.thumb[None], near.bits[None])[0] < 0.3 < 0.8 < distance(a, b.thumb[None], b.bits[None])[0]
    assert hsv_difference(a, near) < 9 < hsv_difference(a, b)
    assert look_at(cv2.GaussianBlur(one, (0, 0), 9)).sharpness < a.sharpness
    assert look_at(np.full((90, 160, 3), 250, np.uint8)).blank and not a.blank


@given(st.binary(max_size=80))
def test_sniffing_takes_any_bytes(head):
    assert sniff(head) is None or sniff(head)[0] in ("image", "video", "audio")
