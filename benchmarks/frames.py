"""Shots covered by the shot-aware frame sampler against the fixed rate with as many frames, on synthetic edits, and what both decode.

Thresholds were set on seeds 0 to 5; the seeds here were never looked at. A case counts every seed; "worst" is the least of
ours - fixed over all single files.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from benchmarks.edits import Edit, cases, long_case, write
from benchmarks.report import Row
from models.frames import FrameSpec, Sampled, sample_frames

SEEDS = (200, 201)
PEER = "fixed rate, as many frames"


class Seen(Struct, frozen=True):
    """What a sampler did on one file."""

    covered: int
    frames: int
    decoded: int
    cpu_s: float


def run(seeds: Sequence[int] = SEEDS, two_hours: bool = True) -> list[Row]:
    """Rows by case, then the sums and the cost."""
    with tempfile.TemporaryDirectory(prefix="tagstream-edits-") as scratch:
        ours: dict[str, list[Seen]] = {}
        fixed: dict[str, list[Seen]] = {}
        length_s = 0.0
        for seed in seeds:
            for edit in [*cases(seed), long_case(seed)]:
                path = write(edit, seed, Path(scratch, "edit.mp4"))
                most = sum(shot.frames for shot in edit.shots) // 5 if edit.name.startswith("a long file") else 3000
                ours.setdefault(edit.name, []).append(_sample(path, edit, FrameSpec(max_decoded=most)))
                fixed.setdefault(edit.name, []).append(_sample(path, edit, FrameSpec(strategy="fixed", max_decoded=most)))
                length_s += sum(shot.frames for shot in edit.shots) / edit.fps
        rows = [_case(name, ours[name], fixed[name]) for name in ours]
        rows += _sums(_all(ours), _all(fixed), length_s)
        return [*rows, *_two_hours(Path(scratch, "long.mp4"))] if two_hours else rows


def covered(edit: Edit, sampled: Sampled) -> int:
    """Different shots among the frames; a frame inside a transition shows none."""
    return len({edit.scene_at(frame.position_ms) for frame in sampled.frames} - {None})


def _sample(path: Path, edit: Edit, spec: FrameSpec) -> Seen:
    started = time.process_time()
    sampled = sample_frames(path, edit.budget, spec)
    return Seen(covered(edit, sampled), len(sampled.frames), sampled.decoded, time.process_time() - started)


def _all(by_case: dict[str, list[Seen]]) -> list[Seen]:
    return [seen for files in by_case.values() for seen in files]


def _case(name: str, ours: list[Seen], fixed: list[Seen]) -> Row:
    one, other = (sum(seen.covered for seen in files) for files in (ours, fixed))
    return Row(what=name, unit="shots covered", ours=one, peer=other, peer_name=PEER, ratio_at_least=1.0)


def _sums(ours: list[Seen], fixed: list[Seen], length_s: float) -> list[Row]:
    worst = min(one.covered - other.covered for one, other in zip(ours, fixed, strict=True))
    one, other = ([sum(getattr(seen, what) for seen in files) for what in Seen.__struct_fields__] for files in (ours, fixed))
    return [
        Row(what="all cases", unit="shots covered", ours=one[0], peer=other[0], peer_name=PEER, ratio_at_least=1.01),
        Row(what="worst single file, ours - fixed", unit="shots", ours=worst, at_least=0),
        Row(what="frames taken, repeats left out", unit="frames", ours=one[1], peer=other[1], peer_name=PEER),
        Row(what="frames decoded", unit="frames", ours=one[2], peer=other[2], peer_name=PEER),
        Row(what="CPU per second of video", unit="ms", ours=1000 * one[3] / length_s, peer=1000 * other[3] / length_s, peer_name=PEER),
    ]


def _two_hours(path: Path) -> list[Row]:
    """Two hours at 2 frames a second, default budget of decoded frames."""
    edit = long_case(300, frames=14_400, fps=2)
    write(edit, 300, path)
    seen = _sample(path, edit, FrameSpec())
    return [
        Row(what="two hours, frames decoded", unit="frames", ours=seen.decoded, at_most=FrameSpec().max_decoded, note="of 14,400"),
        Row(what="two hours, CPU", unit="s", ours=seen.cpu_s),
    ]
