"""Frames of a video that stand for it: a shot-aware sampler and the paper's fixed rate, both within a budget of decoded frames.

``spec`` what is asked and answered -> ``video`` opening, seeking and counting what is decoded -> ``look`` what a frame looks like ->
``shots`` boundaries -> ``candidates`` repeats and the final choice -> ``sample``.
"""

from models.frames.sample import sample_frames
from models.frames.spec import Frame, FrameSpec, Sampled

__all__ = ["Frame", "FrameSpec", "Sampled", "sample_frames"]
