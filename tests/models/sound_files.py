"""Sound files made on the spot: tones and silence in every container that is opened here."""

import av
import numpy as np

KINDS = {
    "wav": ("wav", "pcm_s16le"), "flac": ("flac", "flac"), "mp3": ("mp3", "mp3"), "ogg": ("ogg", "libopus"), "m4a": ("mp4", "aac"),
    "mkv": ("matroska", "pcm_f32le"), "aac": ("adts", "aac"), "avi": ("avi", "pcm_s16le"), "mov": ("mov", "alac"),
}  # fmt: skip


def tone(seconds, rate=16_000, hertz=440.0, loud=0.5):
    return (loud * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write_sound(path, sound, rate=16_000, kind=None, channels=1, picture=False):
    """Writes mono samples as ``channels`` equal ones; with ``picture`` also a video track before them."""
    container, codec = KINDS[kind or path.suffix[1:]]
    with av.open(str(path), "w", format=container) as out:
        video = out.add_stream("mpeg4", rate=10) if picture else None
        stream = out.add_stream(codec, rate=rate, layout="mono" if channels == 1 else "stereo")
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for _ in range(int(10 * len(sound) / rate)):
                out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
            out.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.repeat(sound[None], channels, axis=0), format="fltp", layout=stream.layout.name)
        frame.sample_rate = rate
        for piece in av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate, frame_size=stream.frame_size).resample(frame):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path
