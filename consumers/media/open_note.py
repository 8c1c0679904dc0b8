"""A note's media as a tagger takes them: images, frames within one shared budget, sound, and what is missing by name."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from consumers.media.decoder import Decoder
from consumers.media.fetch import Fetcher
from consumers.media.results import Fetched, Field, Media, Missing, NoteFile, NoteFrame, NoteImage, NoteSound, Refusal, Refused
from consumers.media.senses import Senses
from models.media_kind import MediaKind
from models.sound import SAMPLE_RATE
from schemas.events import NoteEvent

Clock = Callable[[], float]
MOST_VIDEOS = 4
MOST_AUDIOS = 4
TRIES_PER_IMAGE = 2
KINDS: dict[Field, tuple[MediaKind, ...]] = {"images": ("image",), "videos": ("video",), "audios": ("audio", "video")}


ALL = Senses()


def open_media(note: NoteEvent, fetcher: Fetcher, decoder: Decoder, clock: Clock = time.monotonic, senses: Senses = ALL) -> Media:
    """Fetches and decodes a note's media; never raises for what is in the note.

    The image budget is shared: while there are videos, the note's own images take at most half of it, and what one side leaves the other
    may have. An image beyond the budget is not missing; one that was refused is, and the next one takes its place.

    Args:
        note: its URIs are not trusted.
        fetcher: of this batch; paths in the answer last until it closes.
        decoder: may be shared by batches.
        clock: seconds, for the note's time limits on fetching and on decoding.
        senses: what is to be opened.
    """
    return _Opening(note, fetcher, decoder, clock, senses).run()


class _Opening:
    """One note on its way."""

    def __init__(self, note: NoteEvent, fetcher: Fetcher, decoder: Decoder, clock: Clock, senses: Senses) -> None:
        self._note = note
        self._fetcher = fetcher
        self._decoder = decoder
        self._clock = clock
        self._senses = senses
        self._end = clock() + fetcher.limits.note_timeout_s
        self._decode_left = fetcher.limits.decode_s
        self._samples_left = int(fetcher.limits.sound.taken_s * SAMPLE_RATE)
        self._missing: list[Missing] = []
        self._next_image = 0

    def run(self) -> Media:
        """Videos first: only then is known how many images there is room for."""
        sees, hears = self._senses.sees, self._senses.hears
        budget = self._fetcher.limits.images if sees else 0
        videos = self._files("videos", self._note.videos, MOST_VIDEOS) if sees or hears else []
        audios = self._files("audios", self._note.audios, MOST_AUDIOS) if hears else []
        own = min(len(self._note.images), budget - budget // 2 if videos else budget)
        images = self._images(own)
        frames = self._frames(videos, budget - len(images))
        room = budget - len(images) - len(frames)
        if room and videos:
            images += self._images(room)
        sounds = self._sounds("audios", audios) + self._sounds("videos", videos) if hears else []
        order: list[Field] = ["images", "videos", "audios"]
        missing = sorted(self._missing, key=lambda item: (order.index(item.field), item.index))
        return Media(images, frames, audios, videos, sounds, missing)

    def _files(self, field: Field, uris: Sequence[str], most: int) -> list[NoteFile]:
        """Files that stay until the batch ends."""
        found = self._fetch(field, list(enumerate(uris[:most])))
        for index in range(most, len(uris)):
            self._lack(field, index, Refused("too_many", f"only the first {most} are taken"))
        return [NoteFile(index, fetched.path) for index, fetched in found]

    def _images(self, count: int) -> list[NoteImage]:
        """The next ``count`` images; refused ones are made up for by later ones, within so many tries."""
        taken: list[NoteImage] = []
        last = min(len(self._note.images), self._next_image + TRIES_PER_IMAGE * count)
        while len(taken) < count and self._next_image < last:
            end = min(self._next_image + count - len(taken), last)
            wave = list(enumerate(self._note.images))[self._next_image : end]
            self._next_image = end
            for index, fetched in self._fetch("images", wave):
                try:
                    with self._decoding() as decoder:
                        taken.append(NoteImage(index, decoder.image(fetched.path, self._decode_left)))
                except Refusal as refusal:
                    self._lack("images", index, refusal.refused)
                finally:
                    self._fetcher.release(self._note.images[index])
        return taken

    def _frames(self, videos: list[NoteFile], budget: int) -> list[NoteFrame]:
        """The budget spread over the videos; what one leaves the later ones may have."""
        frames: list[NoteFrame] = []
        for place, video in enumerate(videos):
            share = (budget - len(frames)) // (len(videos) - place)
            if share < 1:
                continue
            try:
                with self._decoding() as decoder:
                    found, cut = decoder.frames(video.path, share, self._decode_left)
            except Refusal as refusal:
                self._lack("videos", video.index, refusal.refused)
                continue
            frames += [NoteFrame(video.index, frame) for frame in found]
            if cut:
                self._missing.append(Missing("videos", video.index, "cut", cut, False))
        return frames

    def _sounds(self, field: Literal["audios", "videos"], files: list[NoteFile]) -> list[NoteSound]:
        """What can be heard in files, together no longer than one medium may be; a video without a voice lacks nothing."""
        sounds: list[NoteSound] = []
        for file in files:
            try:
                with self._decoding() as decoder:
                    samples, cut = decoder.sound(file.path, self._decode_left)
            except Refusal as refusal:
                if not any((one.field, one.index) == (field, file.index) for one in self._missing):
                    self._lack(field, file.index, refusal.refused)
                continue
            if len(samples) > self._samples_left:
                samples, cut = samples[: self._samples_left], cut or "the note has more sound than is taken of one"
            self._samples_left -= len(samples)
            if len(samples):
                sounds.append(NoteSound("audio" if field == "audios" else "video", file.index, samples))
            if cut:
                self._missing.append(Missing(field, file.index, "cut", cut, False))
        return sounds

    @contextmanager
    def _decoding(self) -> Iterator[Decoder]:
        """Takes the time that decoding needs off what the note has, not that of waiting for a turn."""
        with self._decoder.turn():
            started = self._clock()
            try:
                yield self._decoder
            finally:
                self._decode_left -= self._clock() - started

    def _fetch(self, field: Field, wanted: list[tuple[int, str]]) -> list[tuple[int, Fetched]]:
        found = self._fetcher.fetch_all([uri for _, uri in wanted], max(self._end - self._clock(), 0.0))
        kept = []
        for (index, uri), answer in zip(wanted, found, strict=True):
            if isinstance(answer, Refused):
                self._lack(field, index, answer)
            elif answer.kind not in KINDS[field]:
                self._fetcher.release(uri)
                self._lack(field, index, Refused("wrong_kind", f"by its content it is of kind {answer.kind}"))
            else:
                kept.append((index, answer))
        return kept

    def _lack(self, field: Field, index: int, refused: Refused) -> None:
        self._missing.append(Missing(field, index, f"refused, {refused.reason}", refused.detail, refused.may_recover))
