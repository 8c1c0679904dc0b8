"""One note's tags by the four steps of CoT Extraction (paper section 3.2, appendix B.1), each a request of one conversation.

A step's answer is read tolerantly and limited to the handbook's dimensions; what goes on in the conversation is what was read of it, not
what the teacher wrote. So a request depends on the note and on answers before it alone, and a recording of it serves a later run.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from models.answers import parse_answer
from models.chat_endpoint import EndpointRefuses
from models.guards.places import Places
from models.handbook import Handbook
from models.prompts import Prompts, answer_schema
from models.roles import NoteMedia
from models.text import language_of
from offline.chat.client import ChatReply, ChatRequest
from offline.tag_data.extraction_prompts import STEPS, STYLE, Step, StepName, asked, examples_text
from offline.tag_data.samples import Told, answer_text
from schemas.events import Category, EvidenceSource, NoteEvent

TOKENS_PER_TAG, TOKENS_AROUND = 60, 128
CUT, NOTHING, NONE_LEFT = "the answer was cut off", "no tag could be read from the answer", "the review left no tag"
Ask = Callable[[ChatRequest], ChatReply]


class StepTaken(Struct, frozen=True, kw_only=True):
    """A step as it went. ``answer``: what the teacher wrote; ``tags``: what was read of it; ``dropped``: entries that were no tags of the
    handbook, or that a step had no right to bring; ``restored``: tags that the ranking had forgotten."""

    step: StepName
    answer: str
    tags: list[Told]
    dropped: int
    restored: int
    prompt_tokens: int
    completion_tokens: int


class Extracted(Struct, frozen=True, kw_only=True):
    """What came of a note: its tags, most important first, or the reason why there are none. ``category``: the note's, or the one that the
    teacher chose for a note without. ``failed_at``: the step that failed, which is the last of ``steps`` if it was answered at all."""

    note_id: str
    category: Category | None
    tags: list[Told] = field(default_factory=list)
    steps: list[StepTaken] = field(default_factory=list)
    failed: str = ""
    failed_at: StepName | None = None


class Extraction:
    """Asks a teacher about notes.

    Args:
        handbook: its dimensions.
        max_tags: of a sample.
        max_side: pixels of the longer side of a picture that is sent.
    """

    def __init__(self, handbook: Handbook, max_tags: int, max_side: int) -> None:
        self._handbook = handbook
        self._max_tags = max_tags
        self._max_side = max_side
        self._prompts = Prompts(handbook, STYLE, STEPS[0].share * max_tags)

    def extract(self, note: NoteEvent, media: NoteMedia, ask: Ask) -> Extracted:
        """The four steps in turn.

        Args:
            note: without its media; not trusted.
            media: what is seen and heard of it.
            ask: gives the teacher's answer. What it raises goes through, but for a refusal, which is the note's failure.
        """
        messages = self._opening(note, media)
        found = Extracted(note_id=note.note_id, category=note.category)
        for step in STEPS:
            messages.append({"role": "user", "content": asked(step, self._max_tags)})
            try:
                reply = ask(self._request(step, messages, found.category))
            except EndpointRefuses as error:
                return msgspec.structs.replace(found, tags=[], failed=f"the endpoint refuses: {error}", failed_at=step.name)
            found = self._taken(found, step, reply, note, media)
            if found.failed:
                return found
            messages.append({"role": "assistant", "content": answer_text(found.tags)})
        return found

    def _opening(self, note: NoteEvent, media: NoteMedia) -> list[dict[str, Any]]:
        """What all steps begin with: the requirements, the dimensions, examples; then pictures and words of the note."""
        system, user = self._prompts.of(note, media).endpoint_chat(self._max_side)
        language = language_of(f"{note.title}\n{note.body[:1000]}")
        examples = examples_text(note.category, "zh" if language in ("zh", "mixed") else "en")
        return [{**system, "content": "\n".join(filter(None, (system["content"], examples)))}, user]

    def _request(self, step: Step, messages: Sequence[dict[str, Any]], category: Category | None) -> ChatRequest:
        most = step.share * self._max_tags
        schema = answer_schema(self._handbook, category, most)
        return ChatRequest(messages=_joined(messages), schema=schema, max_tokens=TOKENS_AROUND + TOKENS_PER_TAG * most)

    def _taken(self, before: Extracted, step: Step, reply: ChatReply, note: NoteEvent, media: NoteMedia) -> Extracted:
        answer = parse_answer(reply.text, self._handbook, before.category, step.share * self._max_tags)
        places = Places(note, media)
        read = [(tag.text, tag.dimension, tag.source or _source(tag.text, places)) for tag in answer.tags]
        tags = [Told(text, dimension, source) for text, dimension, source in read if source]
        dropped, restored = answer.dropped + len(read) - len(tags), 0
        if step.name == "rank":
            known, unknown = _known(tags, before.tags)
            forgotten = [tag for tag in before.tags if tag not in known]
            tags, dropped, restored = known + forgotten, dropped + unknown, len(forgotten)
        elif step.name == "review":
            known, unknown = _known(tags, before.tags)
            tags, dropped = sorted(known, key=before.tags.index)[: self._max_tags], dropped + unknown
        taken = StepTaken(
            step=step.name, answer=reply.text, tags=tags, dropped=dropped, restored=restored,
            prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens,
        )  # fmt: skip
        failed = _failure(step, reply, taken)
        return Extracted(
            note_id=before.note_id, category=answer.category, tags=[] if failed else tags, steps=[*before.steps, taken], failed=failed,
            failed_at=step.name if failed else None,
        )  # fmt: skip


def _failure(step: Step, reply: ChatReply, taken: StepTaken) -> str:
    """Why a step gives nothing to go on with; empty where it does. A ranking must rank something: nothing read of it is no order."""
    if reply.cut:
        return CUT
    if len(taken.tags) > taken.restored:
        return ""
    return NONE_LEFT if step.name == "review" and "[]" in "".join(reply.text.split()) else NOTHING


def _known(tags: Sequence[Told], before: Sequence[Told]) -> tuple[list[Told], int]:
    """The tags as they were before, in their new order, and how many were not among them."""
    was = {tag.text.casefold(): tag for tag in before}
    known = [was[tag.text.casefold()] for tag in tags if tag.text.casefold() in was]
    return known, len(tags) - len(known)


def _source(text: str, places: Places) -> EvidenceSource | None:
    """Where the note says it, for a tag without a source; None where no words do."""
    said = places.find(text)
    return said[0].source if said else None


def _joined(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in which user and assistant take turns: the first step stands in the same turn as the note."""
    system, note, first, *rest = messages
    return [system, {**note, "content": [*note["content"], {"type": "text", "text": first["content"]}]}, *rest]
