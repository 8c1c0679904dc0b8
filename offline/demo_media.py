"""The demo's notes that must be seen and heard: simulated, with pictures, clips and voices, through ``tag-notes`` with the demo models.

The tagger is a ``VlmTagger`` and the transcriber a SenseVoice, opened by their settings as larger checkpoints are. Both models know the
simulated community alone, so its notes are what they are shown, and of those only ones that they never learned from.
"""

from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console

from consumers.namespace import drop_namespace
from offline.live import open_publisher, publish_live, running_consumers, timing, wait_caught_up, wait_recallable
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.render import render_note
from offline.simulate.truth import Attribute, Truth
from offline.simulate.voice import REMEDY, espeak
from recall.build import open_stores
from schemas.events import EvidenceSource, NoteEvent
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.topics import all_topics
from streams.topics_admin import create_topics

JOBS = ("tag-notes", "index-notes")
SEED, FIRST = 7, 200_000  # of the held-out notes
KINDS = (("en", False, False), ("zh", False, False), ("en", True, False), ("en", False, True), ("zh", True, True))
PER_S = 20.0


class MediaNote(Struct, frozen=True):
    """A note as it was published, what is true of it, and its record once it is recallable. ``after_ms``: from publishing to there."""

    event: NoteEvent
    truth: Truth
    record: NoteRecord
    after_ms: int

    @property
    def true_tags(self) -> set[str]:
        """Texts of the record's tags that are true."""
        return set(self.record.texts) & set(self.truth.tags())

    @property
    def missed(self) -> list[Attribute]:
        """What is true, is told by something of the note that was published, and is not among the tags."""
        media: dict[EvidenceSource, list[str]] = {"image": self.event.images, "video": self.event.videos, "audio": self.event.audios}
        there: list[EvidenceSource] = ["title", "body", "product", *(source for source, uris in media.items() if uris)]
        return [one for one in self.truth.told_by(there) if one.text(self.truth.language) not in self.record.texts]


class SeenAndHeard(Struct, frozen=True):
    """``lacks``: what the notes had to go without, empty where nothing."""

    notes: list[MediaNote]
    lacks: str


def see_and_hear(settings: Settings, console: Console) -> SeenAndHeard:
    """Publishes the notes, runs the jobs on them, and returns once each is recallable. Works in a namespace of its own, cleared first.

    Raises:
        MissingPrerequisite: this OpenCV cannot write clips.
        Transient: a server or a consumer does not get ready.
    """
    media = Path(settings.data, "simulated").resolve()
    media.mkdir(parents=True, exist_ok=True)
    console.print("[bold]media[/]   drawing and speaking five simulated notes")
    notes = held_out_notes()
    events = [render_note(note, media) for note in notes]
    live = with_demo_models(settings, media)
    drop_namespace(live)
    create_topics(live, all_topics(live.namespace))
    log = Path(settings.data, "demo-media-consumers.log")
    told = partial(console.print, highlight=False)
    with running_consumers(live, log, lambda text: told(f"[bold]consume[/] {text}"), JOBS), open_publisher(live) as publisher:
        console.print(f"[bold]publish[/] {len(events)} note events with media, to the demo models")
        sent = publish_live(live, events, PER_S, publisher)
        wait_caught_up(live, JOBS)
        stored = {record.note_id: record for record in wait_recallable(open_stores(live).notes, list(sent), sent)}
    records = [stored[event.note_id] for event in events]
    shown = [
        MediaNote(event, note.truth, record, timing(record)["recallable"])
        for event, note, record in zip(events, notes, records, strict=True)
    ]
    return SeenAndHeard(shown, "" if espeak() else f"{REMEDY}: these notes go without their voices")


def with_demo_models(settings: Settings, media: Path) -> Settings:
    """The settings of the jobs that see and hear: the demo models, and ``media`` as where files may lie."""
    return msgspec.structs.replace(
        settings,
        namespace=f"{settings.namespace}-media",
        bundle="",
        tagger="vlm",
        vlm_model="demo",
        transcriber_model="demo",
        transcriber_correction=False,
        media_roots=str(media),
    )


def held_out_notes() -> list[SimulatedNote]:
    """Of each of ``KINDS`` (language, with a clip, with a voice) the first held-out note with pictures, so that none is picked by hand."""
    community = Community(SEED)
    found: dict[tuple[str, bool, bool], SimulatedNote] = {}
    number = FIRST
    while not all(kind in found for kind in KINDS):
        note = community.note(number)
        if note.truth.images:
            found.setdefault((note.truth.language, bool(note.truth.shots), note.truth.voice is not None), note)
        number += 1
    return [found[kind] for kind in KINDS]


def counts(notes: list[MediaNote]) -> dict[str, int]:
    """``tags`` given, ``true`` among them, and ``missed`` true ones."""
    return {
        "tags": sum(len(note.record.tags) for note in notes),
        "true": sum(len(note.true_tags) for note in notes),
        "missed": sum(len(note.missed) for note in notes),
    }
