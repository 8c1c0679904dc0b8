"""What of a simulated note's truth can be known from given sources, as tags to learn or to be judged by."""

from collections.abc import Sequence

from offline.simulate.notes import PROMINENCE
from offline.simulate.truth import Truth
from offline.tag_data.samples import Told
from schemas.events import EvidenceSource, NoteEvent

_LOOKS: tuple[str, ...] = ("item", "colour", "pattern", "phrase")


def told(truth: Truth, event: NoteEvent, spoken: str, seen: Sequence[EvidenceSource]) -> list[Told]:
    """The true tags that the given sources tell, each with its foremost one, in reading order.

    Args:
        truth: of the note.
        event: whose words are read.
        spoken: what is heard of its voice; empty where nothing is.
        seen: ``image`` and ``video``, as far as they are looked at.
    """
    texts = _by_source(event, spoken)
    given = {source for source, text in texts.items() if text} | set(seen)
    found: dict[str, tuple[tuple[int, int], Told]] = {}
    for number, attribute in enumerate(truth.told_by(given)):
        source = next(one for one in PROMINENCE if one in given and one in attribute.sources)
        text = attribute.text(truth.language)
        place = texts.get(source, "").casefold().find(text.casefold())
        key = (PROMINENCE.index(source), place if source in texts else _LOOKS.index(attribute.kind) * 100 + number)
        found.setdefault(text, (key, Told(text, attribute.dimension, source)))
    return [tag for _, tag in sorted(found.values(), key=lambda one: one[0])]


def plain_speech(text: str) -> str:
    """As a transcriber without punctuation would write it."""
    kept = "".join(sign if sign.isalnum() or sign in " '-" else " " for sign in text.lower())
    return " ".join(kept.split())


def _by_source(event: NoteEvent, spoken: str) -> dict[EvidenceSource, str]:
    cards = " ".join(part for card in event.products for part in (card.name, card.brand, card.description))
    return {"title": event.title, "body": event.body, "product": cards, "audio": spoken}
