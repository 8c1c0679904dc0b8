"""A model's answer and its note in, tags with evidence out: one function for every model that writes tags."""

from collections.abc import Callable, Sequence

from msgspec import Struct, field

from models.answers import Answer, FoundTag
from models.guards.aliases import Aliases
from models.guards.contradiction import Conflict, Values, resolve
from models.guards.places import Places
from models.handbook import Handbook
from models.roles import NoteMedia, SeenImage, TagEncoder
from schemas.events import Evidence, EvidenceSource, NoteEvent, Tag
from schemas.settings import Settings


class Guards(Struct, frozen=True):
    """Which guards stand. ``evidence``: a tag that claims words must be found in them; ``values``: what contradicts the product card goes
    (None: it stays); ``aliases``: known wordings (None: as the model wrote)."""

    evidence: bool = True
    values: Values | None = None
    aliases: Aliases | None = None


class Guarded(Struct, frozen=True):
    """``tags``: ranked from 1, most important first. ``unfounded``: texts dropped for want of evidence; ``renamed``: old to known wording;
    ``unchecked``: texts that only pictures or frames speak for, which no guard can look into."""

    tags: list[Tag]
    unfounded: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)


def build_guards(settings: Settings, handbook: Handbook, encoder: TagEncoder) -> Guards:
    """The guards that the settings ``guard_*`` leave standing."""
    values = Values(handbook) if settings.guard_contradictions else None
    aliases = Aliases(handbook, encoder, settings.guard_alias_similarity) if settings.guard_aliases else None
    return Guards(settings.guard_evidence, values, aliases)


def guard(
    answer: Answer, note: NoteEvent, media: NoteMedia | None, guards: Guards, confidence: Callable[[FoundTag], float] | None = None
) -> Guarded:
    """Applies the guards.

    Args:
        answer: of the model, already limited to the handbook's dimensions.
        note: what it is about.
        media: what the model saw and heard of it.
        guards: which stand.
        confidence: of each tag, in [0, 1]; 1 where None.
    """
    places = Places(note, media)
    tags: list[Tag] = []
    unfounded: list[str] = []
    for found in answer.tags:
        evidence = _evidence(found, places, media)
        if not evidence and guards.evidence:
            unfounded.append(found.text)
            continue
        sure = min(1.0, max(0.0, confidence(found))) if confidence else 1.0
        tags.append(Tag(text=found.text, dimension=found.dimension, rank=1, confidence=round(sure, 4), evidence=evidence))
    conflicts: list[Conflict] = []
    if guards.values is not None:
        tags, conflicts = resolve(tags, guards.values)
    renamed = guards.aliases.canonical(tags, answer.category) if guards.aliases is not None and answer.category else {}
    tags = _ranked(tags, renamed)
    unchecked = [tag.text for tag in tags if tag.evidence and all(_blind(one, media) for one in tag.evidence)]
    return Guarded(tags, unfounded, conflicts, renamed, unchecked)


def _evidence(found: FoundTag, places: Places, media: NoteMedia | None) -> list[Evidence]:
    """Where the tag is said, the claimed source first; a claim on pictures holds where there are some."""
    said = places.find(found.text)
    seen = _seen(found.source, media)
    if seen is not None and not any(one.source == found.source for one in said):
        said.insert(0, Evidence(source=seen.source, position=seen.position))
    return sorted(said, key=lambda one: one.source != found.source)


def _seen(source: EvidenceSource | None, media: NoteMedia | None) -> SeenImage | None:
    """The first picture of the claimed source."""
    images: Sequence[SeenImage] = media.images if media else []
    return next((image for image in images if image.source == source), None)


def _blind(evidence: Evidence, media: NoteMedia | None) -> bool:
    if evidence.source == "image":
        return True
    heard = media.speech if media else []
    return evidence.source == "video" and not any(one.source == "video" and one.utterance.start_ms == evidence.position for one in heard)


def _ranked(tags: Sequence[Tag], renamed: dict[str, str]) -> list[Tag]:
    """Ranks given anew; of tags that have become one the first stays, with the evidence of all."""
    merged: dict[str, Tag] = {}
    for tag in tags:
        text = renamed.get(tag.text, tag.text)
        first = merged.get(text.casefold())
        evidence = list(tag.evidence) if first is None else first.evidence + [one for one in tag.evidence if one not in first.evidence]
        kept = first or tag
        merged[text.casefold()] = Tag(
            text=first.text if first else text,
            dimension=kept.dimension,
            rank=1,
            confidence=max(kept.confidence, tag.confidence),
            evidence=evidence,
        )
    return [
        Tag(text=tag.text, dimension=tag.dimension, rank=rank, confidence=tag.confidence, evidence=tag.evidence)
        for rank, tag in enumerate(merged.values(), 1)
    ]
