"""What is asked of the frame sampler and what it answers."""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Positive = Annotated[int, Meta(ge=1)]


class FrameSpec(Struct, frozen=True, kw_only=True):
    """How a video is sampled.

    ``strategy``: ``shots`` takes the sharpest frame of each shot, ``fixed`` frames at ``rate`` per second (the paper's way), spread over
    the whole length where the budget is smaller. ``max_decoded`` and ``max_megapixels`` bound the frames decoded for one video, the
    second for large pictures (frames x width x height / 1e6). ``scan_rate``: frames per second that are looked at. ``max_seconds`` is a
    safety valve on the wall clock: it should never bind, and the answer says when it did. ``max_duration_s``, ``max_frames`` and
    ``max_frame_pixels`` refuse a video before any of it is decoded. ``frame_pixels`` bounds width x height of the frames returned.
    ``partial``: take what is there of a truncated file instead of refusing it.
    """

    strategy: Literal["shots", "fixed"] = "shots"
    rate: Annotated[float, Meta(gt=0)] = 1.0
    scan_rate: Annotated[float, Meta(gt=0)] = 12.0
    max_decoded: Positive = 3000
    max_megapixels: Annotated[float, Meta(gt=0)] = 3000.0
    max_seconds: Annotated[float, Meta(gt=0)] = 60.0
    max_duration_s: Annotated[float, Meta(gt=0)] = 14_400.0
    max_frames: Positive = 1_000_000
    max_frame_pixels: Positive = 36_000_000
    frame_pixels: Positive = 786_432
    partial: bool = False


class Frame(Struct, frozen=True):
    """One frame. ``image``: RGB, uint8, (height, width, 3). ``shot`` counts the boundaries found before it, from 0; between places far
    apart in a long video a boundary is assumed where the picture differs. With ``fixed`` it is 0."""

    image: "NDArray[np.uint8]"
    position_ms: int
    shot: int


class Sampled(Struct, frozen=True, kw_only=True):
    """The answer: frames in order of time, at most as many as asked for, fewer where the rest would only repeat them.

    ``decoded`` is what it cost; ``scanned`` how many frames were looked at. ``cut`` says what the answer had to leave out, empty
    otherwise: the wall clock bound, a truncated file, or a part that no seek reaches within the budget.
    """

    frames: list[Frame]
    duration_ms: int
    decoded: int
    scanned: int
    cut: str = ""
