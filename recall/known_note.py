"""A note as the stores know it: how far it came, its tags, and what keeps it from being recalled."""

from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from recall.query import RecallStores
from schemas.errors import Transient
from schemas.events import Tag
from schemas.stored import NoteRecord

State = Literal["unknown", "published", "tagged", "recallable", "deleted", "dead_letter"]


class WhyNot(Struct, frozen=True):
    """One reason, short and stable, with a line for a person."""

    reason: str
    detail: str


class Inspected(Struct, frozen=True, kw_only=True):
    """What is known of a note. ``degraded``: what its tagger had to do without; ``stages``: epoch ms by stage reached; ``why_not``: what
    keeps it from being recalled."""

    note_id: str
    state: State
    category: str | None = None
    tags: list[Tag] = field(default_factory=list)
    bundle: str | None = None
    tagger: str = ""
    degraded: list[str] = field(default_factory=list)
    stages: dict[str, int] = field(default_factory=dict)
    why_not: list[WhyNot] = field(default_factory=list)


DELETED = WhyNot("deleted", "its author took it back")


def in_stores(note_id: str, stores: RecallStores) -> Inspected | None:
    """What the stores hold of a note; None where they do not know it.

    Raises:
        Transient: Redis does not answer.
    """
    record = stores.notes.get([note_id]).get(note_id) if stores.bundle else None
    if record is None:
        return None
    found = Inspected(
        note_id=note_id,
        state="deleted" if record.deleted else "tagged",
        category=record.category,
        tags=record.tags,
        bundle=stores.bundle,
        tagger=record.tagger,
        degraded=record.degraded,
        stages=record.stages,
    )
    return replace(found, why_not=[DELETED]) if record.deleted else _searchable(found, record, stores)


def _searchable(found: Inspected, record: NoteRecord, stores: RecallStores) -> Inspected:
    """Recallable once a search finds the vector of the record's own event."""
    if "recallable" in record.stages:
        return replace(found, state="recallable")
    try:
        if stores.index.visible([record.note_id]).get(record.note_id) == record.occurred_at:
            return replace(found, state="recallable")
    except Transient as error:
        return replace(found, why_not=[WhyNot("not_known", f"whether a search finds its vector: {error}")])
    if not record.tags:
        return replace(found, why_not=[WhyNot("no_tags", "it has no tags, so only its age recalls it")])
    return replace(found, why_not=[WhyNot("not_searchable_yet", "no search finds its vector yet; its tags and its age may recall it")])
