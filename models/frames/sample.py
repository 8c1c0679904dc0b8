"""From a video file to the frames that stand for it."""

import time
from pathlib import Path

import cv2
import numpy as np
from msgspec import Struct

from models.frames.candidates import Candidates, shrink
from models.frames.shots import Cutter
from models.frames.spec import Frame, FrameSpec, Sampled
from models.frames.video import SEEK_BACK, Clock, Image, OutOfTime, Video, VideoIndex, read_index
from schemas.errors import InvalidMedia

SEEK_COST = SEEK_BACK + 2
ROOM_PER_FRAME = 4
LEAST_ROOM = 24


class Run(Struct, frozen=True):
    """Frames decoded in a row: from ``start``, ``length`` of them, every ``step``-th looked at."""

    start: int
    length: int
    step: int


def sample_frames(path: Path | str, budget: int, spec: FrameSpec | None = None, clock: Clock = time.monotonic) -> Sampled:
    """At most ``budget`` frames of a video; the same file gives the same frames, unless the wall clock bound was met.

    A video that fits into the budget of decoded frames is decoded once, in order. A longer one is looked at in runs from key frames
    spread over its whole length. Memory: about 4 x ``budget`` images of ``spec.frame_pixels``, whatever the length.

    Args:
        path: a local file; what it is goes by its first bytes.
        budget: frames wanted, at least 1.
        spec: how to sample; default ``FrameSpec()``.
        clock: seconds, for the safety valve.

    Raises:
        InvalidMedia: not a video, truncated (but for ``spec.partial``), or nothing in it decodes.
        MediaTooLarge: more pixels, frames or seconds than ``spec`` allows.
    """
    spec = spec or FrameSpec()
    if budget < 1:
        raise ValueError(f"budget {budget}: at least one frame is needed")
    deadline = clock() + spec.max_seconds
    index = read_index(Path(path), spec, deadline, clock)
    if index.truncated and not spec.partial:
        raise InvalidMedia(f"truncated: {index.packets} of {index.declared} frames")
    video = Video(Path(path), index, deadline, clock)
    try:
        return _shots(video, budget, spec) if spec.strategy == "shots" else _fixed(video, budget, spec)
    except cv2.error as error:
        raise InvalidMedia(f"cannot be decoded ({error.err})") from None
    finally:
        video.close()


def plan_runs(index: VideoIndex, spec: FrameSpec) -> list[Run]:
    """What to decode so that the cost stays within the budget: all of it, or runs from key frames spread evenly."""
    limit = _limit(index, spec)
    step = max(1, round(index.fps / spec.scan_rate))
    if index.packets <= limit:
        return [Run(0, index.packets, step)]
    count = max(1, min(len(index.keys), limit // SEEK_COST))
    keys = _spread(index.keys, index.packets, count)
    more = (limit - SEEK_COST * len(keys)) // len(keys)
    ends = [*keys[1:], index.packets]
    runs = []
    for key, end in zip(keys, ends, strict=True):
        start = _landing(key)
        runs.append(Run(start, max(1, min(1 + more, end - start)), step))
    return runs


def _limit(index: VideoIndex, spec: FrameSpec) -> int:
    return max(SEEK_COST, min(spec.max_decoded, int(spec.max_megapixels * 1e6 / (index.width * index.height))))


def _spread(keys: "np.ndarray[tuple[int], np.dtype[np.int64]]", packets: int, count: int) -> list[int]:
    """``count`` of the key frames, or fewer, each the nearest to one of so many even places; none so late that no seek lands on it."""
    keys = keys[: max(1, int(np.searchsorted(keys, packets - SEEK_BACK - 1)))]
    places = (np.arange(count) + 0.5) * packets / count
    right = np.clip(np.searchsorted(keys, places), 1, max(len(keys) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(keys) - 1)
    nearest = np.where(places - keys[left] <= np.abs(keys[right] - places), left, right)
    return [int(keys[place]) for place in np.unique(nearest)]


def _shots(video: Video, budget: int, spec: FrameSpec) -> Sampled:
    cutter = Cutter()
    candidates = Candidates(max(LEAST_ROOM, ROOM_PER_FRAME * budget), spec.frame_pixels)
    runs = plan_runs(video.index, spec)
    scanned, reached, cut = 0, 0, ""
    try:
        for run in runs:
            for number, position, image in video.run(run.start, run.length, run.step):
                take = cutter.add(image, position, after_gap=number == run.start and number > 0)
                if take is not None:
                    candidates.add(take)
                scanned += 1
                reached = position
    except OutOfTime:
        cut = f"looked at {_seconds(reached)} of {_seconds(video.index.duration_ms)} s within {spec.max_seconds:g} s"
    last = cutter.finish()
    if last is not None and (not last.look.blank or not candidates.takes):
        candidates.add(last)
    if not candidates.takes:
        raise InvalidMedia(cut or "no frame of it can be decoded")
    cut = cut or _damage(scanned, sum(-(-run.length // run.step) for run in runs), spec)
    frames = [_frame(take.image, take.position_ms, take.shot) for take in candidates.choose(budget)]
    return _sampled(video, frames, scanned, cut or _cut(video.index, runs))


def _fixed(video: Video, budget: int, spec: FrameSpec) -> Sampled:
    frames: list[Frame] = []
    runs = plan_fixed(video.index, budget, spec)
    cut = ""
    try:
        for run in runs:
            for _, position, image in video.run(run.start, run.length, run.step):
                frames.append(_frame(shrink(image, spec.frame_pixels), position, 0))
    except OutOfTime:
        cut = f"{len(frames)} of {len(runs)} frames within {spec.max_seconds:g} s"
    if not frames:
        raise InvalidMedia(cut or "no frame of it can be decoded")
    cut = cut or _damage(len(frames), len(runs), spec)
    return _sampled(video, frames, len(frames), cut or _cut(video.index, runs))


def plan_fixed(index: VideoIndex, budget: int, spec: FrameSpec) -> list[Run]:
    """Single frames at the fixed rate, or as many as the budget has, spread evenly; where reaching them costs more than may be decoded,
    the same number right after key frames."""
    count = min(budget, max(1, int(index.packets / index.fps * spec.rate)))
    every = index.fps / spec.rate if count < budget else index.packets / count
    places = sorted({min(int((number + 0.5) * every), index.packets - 1) for number in range(count)})
    steps = [place - before for before, place in zip([-1, *places], places, strict=False)]
    limit = _limit(index, spec)
    if sum(min(step, index.cost(place)) for step, place in zip(steps, places, strict=True)) <= limit:
        return [Run(place, 1, 1) for place in places]
    keys = _spread(index.keys, index.packets, min(count, max(1, limit // SEEK_COST)))
    return [Run(_landing(key), 1, 1) for key in keys]


def _landing(key: int) -> int:
    """The frame that is cheapest to reach by way of a key frame."""
    return key + SEEK_BACK + 1 if key else 0


def _frame(image: Image, position_ms: int, shot: int) -> Frame:
    return Frame(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), position_ms, shot)


def _sampled(video: Video, frames: list[Frame], scanned: int, cut: str) -> Sampled:
    return Sampled(frames=frames, duration_ms=video.index.duration_ms, decoded=video.decoded, scanned=scanned, cut=cut)


def _damage(found: int, planned: int, spec: FrameSpec) -> str:
    """Frames whose packets are there but do not decode, where they are more than a tenth.

    Raises:
        InvalidMedia: unless ``spec.partial``.
    """
    if found >= 0.9 * planned - 2:
        return ""
    words = f"damaged: {found} of {planned} frames decode"
    if not spec.partial:
        raise InvalidMedia(words)
    return words


def _cut(index: VideoIndex, runs: list[Run]) -> str:
    """What a plan cannot reach, as a sentence: a truncated file, or a stretch without key frames beyond the budget."""
    if index.truncated:
        return f"truncated: {index.packets} of {index.declared} frames"
    gaps = zip(runs, [*(run.start for run in runs[1:]), index.packets], strict=True)
    widest = max(after - (run.start + run.length) for run, after in gaps)
    if widest > max(index.packets / 4, 10 * index.fps) and len(runs) < 4:
        return f"a stretch of {widest / index.fps:.0f} s without key frames was not looked at"
    return ""


def _seconds(position_ms: int) -> str:
    return f"{position_ms / 1000:.0f}"
