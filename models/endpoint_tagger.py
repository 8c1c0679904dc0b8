"""Tags from a vision-language model behind a chat endpoint. While it is down the handbook tagger answers, and the note may be upgraded."""

import math
from collections.abc import Sequence

from models.answers import Answer, FoundTag, parse_answer
from models.chat_endpoint import ChatEndpoint, Completion
from models.handbook import Handbook
from models.handbook_tagger import HandbookTagger
from models.phrases import PRODUCT_SPAN
from models.prompts import Prompt, Prompts
from models.roles import NoteMedia, NoteTags
from models.text import language_of
from schemas.errors import TagStreamError, Transient
from schemas.events import Evidence, NoteEvent, Tag

ALGORITHM = 1
UNAVAILABLE = "tagger: endpoint unavailable"
REFUSED = "tagger: endpoint refuses this note"
UNUSABLE = "tagger: endpoint gave no tags"
CUT = "tagger: the endpoint's answer was cut"
TOKENS_PER_TAG, TOKENS_AROUND = 60, 64


class EndpointTagger:
    """Implements ``models.roles.Tagger``.

    Args:
        chat: the endpoint; this tagger closes it.
        prompts: what the model is asked.
        fallback: answers where the model does not.
        max_side: pixels of the longer side of a picture that is sent.
    """

    name = "endpoint"
    sees = True
    hears = True

    def __init__(self, chat: ChatEndpoint, prompts: Prompts, fallback: HandbookTagger, max_side: int = 1024) -> None:
        self.version = f"{ALGORITHM}-{chat.spec.model}-{max_side}-{prompts.version}-{prompts.handbook.version}-{fallback.version}"
        self.chat = chat
        self.prompts = prompts
        self._handbook: Handbook = prompts.handbook
        self._fallback = fallback
        self._max_side = max_side

    def close(self) -> None:
        """Ends the connections."""
        self.chat.close()

    def tag(self, notes: Sequence[NoteEvent], media: Sequence[NoteMedia] | None = None) -> list[NoteTags]:
        """See ``models.roles.Tagger``. A note that the model gives no tags gets the handbook tagger's, and ``degraded`` says why."""
        given = list(media) if media is not None else [NoteMedia()] * len(notes)
        asked = [place for place, note in enumerate(notes) if note.type != "note.deleted"]
        answers: dict[int, NoteTags] = {}
        lacks: dict[int, str] = {}
        for place, outcome in zip(asked, self._ask([(notes[place], given[place]) for place in asked]), strict=True):
            answer = self._answer(notes[place], given[place], outcome)
            if isinstance(answer, NoteTags):
                answers[place] = answer
            else:
                lacks[place] = answer
        places = list(lacks)
        plain = self._fallback.tag([notes[place] for place in places], [given[place] for place in places]) if places else []
        for place, made in zip(places, plain, strict=True):
            lack = lacks[place]
            degraded, recovers = [*made.degraded, lack], made.may_recover or lack == UNAVAILABLE
            answers[place] = NoteTags(made.category, made.tags, made.language, degraded, recovers)
        return [answers[place] if place in answers else NoteTags(note.category, []) for place, note in enumerate(notes)]

    def _ask(self, notes: Sequence[tuple[NoteEvent, NoteMedia]]) -> list[Completion | TagStreamError]:
        if self.chat.circuit.state == "open":
            return [Transient(self.name, "the circuit is open")] * len(notes)
        most = TOKENS_AROUND + TOKENS_PER_TAG * self.prompts.max_tags
        prompts: list[Prompt] = [self.prompts.of(note, of) for note, of in notes]
        return self.chat.ask_all([(prompt.endpoint_chat(self._max_side), self.prompts.schema(prompt.category), most) for prompt in prompts])

    def _answer(self, note: NoteEvent, media: NoteMedia, outcome: Completion | TagStreamError) -> NoteTags | str:
        """The answer, or why there is none."""
        if isinstance(outcome, TagStreamError):
            return UNAVAILABLE if isinstance(outcome, Transient) else REFUSED
        found = parse_answer(outcome.text, self._handbook, note.category, self.prompts.max_tags)
        if not found.tags:
            return UNUSABLE
        spoken = [one.utterance.text for one in media.speech]
        language = language_of("\n".join([note.title, note.body, *spoken]))
        degraded = [*media.degraded, *([CUT] if outcome.cut else [])]
        tags = _tags(note, found, outcome)
        return NoteTags(found.category, tags, None if language == "other" else language, degraded, media.may_recover)


def _tags(note: NoteEvent, found: Answer, outcome: Completion) -> list[Tag]:
    sure = _confidences(found.tags, outcome)
    return [
        Tag(text=one.text, dimension=one.dimension, rank=rank, confidence=sure[rank - 1], evidence=_evidence(note, one))
        for rank, one in enumerate(found.tags, 1)
    ]


def _confidences(tags: Sequence[FoundTag], outcome: Completion) -> list[float]:
    """The mean probability of each tag's tokens; where the server tells none, a number that falls with the rank."""
    ends: list[int] = []
    for piece, _ in outcome.tokens:
        ends.append((ends[-1] if ends else 0) + len(piece))
    if not ends or ends[-1] < len(outcome.text.encode()):
        return [round(0.9 / (1 + 0.1 * place), 4) for place in range(len(tags))]
    sure = []
    for tag in tags:
        start, end = (len(outcome.text[:at].encode()) for at in (tag.start, tag.end))
        told = [chance for (piece, chance), last in zip(outcome.tokens, ends, strict=True) if last > start and last - len(piece) < end]
        sure.append(round(min(1.0, math.exp(sum(told) / len(told))), 4) if told else 0.5)
    return sure


def _evidence(note: NoteEvent, tag: FoundTag) -> list[Evidence]:
    """Where the text stands in the source that the model named; its beginning where it stands nowhere as such."""
    if tag.source is None:
        return []
    texts = {"title": [note.title], "body": [note.body]}.get(tag.source, [])
    if tag.source == "product":
        texts = [" ".join((card.name, card.brand, card.description)) for card in note.products]
    for index, text in enumerate(texts):
        at = text.casefold().find(tag.text.casefold())
        if 0 <= at < PRODUCT_SPAN:
            return [Evidence(source=tag.source, position=index * PRODUCT_SPAN + at)]
    return [Evidence(source=tag.source)]
