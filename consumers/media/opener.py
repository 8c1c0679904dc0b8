"""The media of a whole batch, as ``Tagger.tag`` takes them: fetched side by side, decoded in a few processes, speech written down."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from consumers.media.decoder import Decoder
from consumers.media.fetch import Fetcher
from consumers.media.limits import MediaLimits, limits_of
from consumers.media.open_note import open_media
from consumers.media.results import Media, NoteSound
from consumers.media.senses import Senses
from models.build import endpoint_spec
from models.bundle import Learned
from models.chat_endpoint import ChatEndpoint, EndpointRefuses
from models.endpoint_tagger import EndpointTagger
from models.roles import NoteMedia, SeenImage, Spoken, Transcriber
from models.transcriber.correction import Complete, correct_utterances
from schemas.errors import Transient
from schemas.events import NoteEvent
from schemas.settings import Settings

NOTES_AT_A_TIME = 8
NOTHING = NoteMedia()
NOT_WRITTEN_DOWN = "audio: not written down, the transcriber fails on it"
NOT_CORRECTED = "audio: not put right, endpoint unavailable"
log = logging.getLogger(__name__)


def opener_for(made: Learned, settings: Settings) -> "MediaOpener | None":
    """What opens media for a bundle's tagger; None where it can make nothing of any.

    Raises:
        BadSetting: a media setting is wrong.
        BundleMismatch: the transcriber of the settings is not the bundle's.
    """
    transcriber = made.transcriber if made.tagger.hears else None
    senses = Senses(sees=made.tagger.sees, hears=transcriber is not None)
    if not senses.sees and not senses.hears:
        return None
    return open_opener(settings, senses, transcriber, made.tagger.chat if isinstance(made.tagger, EndpointTagger) else None)


def open_opener(settings: Settings, senses: Senses, transcriber: Transcriber | None, chat: ChatEndpoint | None = None) -> "MediaOpener":
    """What opens media as the settings say, for whoever has these senses; close it.

    Args:
        settings: those of media, and of the endpoint where it puts transcripts right.
        senses: what is to be opened.
        transcriber: writes speech down; without one no sound is opened.
        chat: puts transcripts right where the settings ask for it; None: an endpoint of its own, which it closes.

    Raises:
        BadSetting: a media setting is wrong.
    """
    opener = MediaOpener(limits_of(settings), senses, transcriber=transcriber, decoders=settings.media_decoders)
    if transcriber is not None and settings.transcriber_correction:
        if chat is None:
            chat = ChatEndpoint(endpoint_spec(settings))
            opener.at_end = chat.close
        opener.complete = chat.say
    return opener


class MediaOpener:
    """Opens what a tagger makes use of, batch by batch; as a context manager it ends its decoders.

    Notes of a batch are fetched in parallel and take turns at the decoders. Nothing in a note makes it raise, and a note without media, or
    with none that serve ``senses``, costs nothing.

    Args:
        limits: of each note and of a batch's files.
        senses: what the tagger makes use of.
        transcriber: writes speech down; without one no sound is opened.
        decoders: processes that decode.

    ``complete`` puts transcripts right, where it is set; ``at_end`` is called by ``close``.
    """

    def __init__(self, limits: MediaLimits, senses: Senses, *, transcriber: Transcriber | None = None, decoders: int = 2) -> None:
        self._limits = limits
        self._senses = Senses(sees=senses.sees, hears=senses.hears and transcriber is not None)
        self._transcriber = transcriber
        self._decoders = [Decoder(limits) for _ in range(decoders)]
        self.complete: Complete | None = None
        self.at_end: Callable[[], None] | None = None
        self._pool = ThreadPoolExecutor(NOTES_AT_A_TIME, thread_name_prefix="media-open")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the decoders."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for decoder in self._decoders:
            decoder.close()
        if self.at_end is not None:
            self.at_end()

    def open(self, notes: Sequence[NoteEvent]) -> list[NoteMedia]:
        """The media of each note, in order."""
        wanted = [note for note in notes if self._senses.wants(note)]
        if not wanted:
            return [NOTHING] * len(notes)
        with Fetcher(self._limits) as fetcher:
            turns = [(note, self._decoders[place % len(self._decoders)]) for place, note in enumerate(wanted)]
            opened = list(self._pool.map(lambda turn: open_media(turn[0], fetcher, turn[1], senses=self._senses), turns))
        spoken = self._spoken([one.sounds for one in opened])
        corrected = list(self._pool.map(self._corrected, wanted, spoken))
        answers = iter([_media(*one) for one in zip(opened, corrected, strict=True)])
        return [next(answers) if self._senses.wants(note) else NOTHING for note in notes]

    def _spoken(self, sounds: Sequence[Sequence[NoteSound]]) -> list[list[Spoken] | None]:
        """The speech in each note's sounds; None where it cannot be written down."""
        if self._transcriber is None:
            return [[] for _ in sounds]
        try:
            found = iter(self._transcriber.transcribe([one.samples for of in sounds for one in of]))
            return [[Spoken(utterance, one.source, one.index) for one in of for utterance in next(found)] for of in sounds]
        except (RuntimeError, ValueError) as error:  # what torch and onnxruntime raise; the sound came from a stranger
            if len(sounds) > 1:
                return [spoken for of in sounds for spoken in self._spoken([of])]
            log.warning("the transcriber fails on a note's sound: %s", error)
            return [None]

    def _corrected(self, note: NoteEvent, spoken: list[Spoken] | None) -> tuple[list[Spoken], str]:
        """A note's speech put right, and what it lacks; where the endpoint does not answer it stays as it was heard."""
        if spoken is None:
            return [], NOT_WRITTEN_DOWN
        if self.complete is None or not spoken:
            return spoken, ""
        names = [name for card in note.products for name in (card.brand, card.name) if name]
        try:
            better = correct_utterances([one.utterance for one in spoken], names, self.complete)
        except Transient:
            return spoken, NOT_CORRECTED
        except EndpointRefuses:
            return spoken, ""
        return [replace(one, utterance=utterance) for one, utterance in zip(spoken, better, strict=True)], ""


def _media(opened: Media, heard: tuple[list[Spoken], str]) -> NoteMedia:
    own = [SeenImage(item.image, "image", item.index) for item in opened.images]
    frames = [SeenImage(item.frame.image, "video", item.frame.position_ms) for item in opened.frames]
    spoken, lack = heard
    degraded = [*opened.degraded, lack] if lack else opened.degraded
    return NoteMedia([*own, *frames], spoken, degraded, opened.may_recover or lack == NOT_CORRECTED)
