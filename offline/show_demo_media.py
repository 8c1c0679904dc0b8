"""What the demo models saw and heard, beside the truth, for a terminal and for ``--json``."""

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from offline.demo_media import MediaNote, SeenAndHeard, counts
from recall.views import shown
from schemas.events import Evidence

WHAT_THEY_ARE = (
    "These models are a Qwen3-VL of 7 million and a SenseVoice of 2.8 million parameters, trained on this made-up community (drawings,"
    " template texts, espeak-ng voices) and of no use outside it. They run through the code that runs Qwen3-VL-4B and"
    " SenseVoiceSmall; how well those tag, this does not show."
)


def show_seen_and_heard(console: Console, done: SeenAndHeard) -> None:
    """A table a note, then the counts and what the models are."""
    for note in done.notes:
        console.print(_heading(note))
        console.print(_table(note))
        if note.missed:
            told = ", ".join(f"{one.text(note.truth.language)} ({one.sources[0]})" for one in note.missed)
            console.print(Text(f"  true, not tagged: {told}", style="dim"))
    found = counts(done.notes)
    console.print(f"{found['true']} of {found['tags']} tags are true; {found['missed']} true ones are missing.", highlight=False)
    if done.lacks:
        console.print(Text(done.lacks, style="yellow"))
    console.print(Text(WHAT_THEY_ARE, style="dim"))


def seen_and_heard(done: SeenAndHeard) -> dict[str, Any]:
    """For ``--json``: counts, and each note's tags beside its true ones."""
    notes = [
        {
            "note_id": note.event.note_id,
            "tags": msgspec.to_builtins(note.record.tags),
            "true_tags": note.truth.tags(),
            "degraded": note.record.degraded,
            "recallable_ms": note.after_ms,
        }
        for note in done.notes
    ]
    return counts(done.notes) | {"lacks": done.lacks, "notes": notes}


def _heading(note: MediaNote) -> Text:
    event = note.event
    media = {"image": event.images, "clip": event.videos, "voice": event.audios}
    carried = ", ".join(f"{len(uris)} {name}{'s' if len(uris) > 1 else ''}" for name, uris in media.items() if uris)
    heading = Text(shown(event.note_id), style="bold magenta")
    heading.append(f"  {event.category}, {carried}, recallable after {note.after_ms / 1000:.1f} s", style="not bold default")
    if note.record.degraded:
        heading.append(f", without {shown('; '.join(note.record.degraded))}", style="not bold yellow")
    return heading


def _table(note: MediaNote) -> Table:
    table = Table("", "tag", "dimension", "conf.", "evidence", box=None, header_style="dim", pad_edge=False, padding=(0, 1))
    for tag in note.record.tags:
        true = tag.text in note.true_tags
        mark = Text("true", style="green") if true else Text("not", style="red")
        evidence = ", ".join(place(one) for one in tag.evidence)
        table.add_row(mark, Text(shown(tag.text), style="bold"), tag.dimension, f"{tag.confidence:.2f}", Text(evidence, style="dim"))
    return table


def place(evidence: Evidence) -> str:
    """Where a tag was found: a text, a picture's number, a moment of sound or clip.

    >>> place(Evidence(source="video", position=250))
    'video 250 ms'
    """
    if evidence.source in ("video", "audio"):
        return f"{evidence.source} {evidence.position} ms"
    return f"image {evidence.position + 1}" if evidence.source == "image" else evidence.source
