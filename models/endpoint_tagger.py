"""Tags from a vision-language model behind a chat endpoint. While it is down the handbook tagger answers, and the note may be upgraded."""

import math
from collections.abc import Callable, Sequence
from itertools import count

from models.answers import FoundTag, parse_answer
from models.chat_endpoint import ChatEndpoint, Completion
from models.guards import Guards, guard
from models.guards.vocabulary import KnownTags
from models.handbook import Handbook
from models.handbook_tagger import HandbookTagger
from models.prompts import Prompt, Prompts
from models.roles import NoteMedia, NoteTags
from models.text import language_of
from schemas.errors import TagStreamError, Transient
from schemas.events import NoteEvent

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
        guards: what stands between the model's answer and the tags.
        known: tags offered to the prompt; None offers none.
        options: names how ``guards`` and ``known`` are set, for the version.
    """

    name = "endpoint"
    sees = True
    hears = True

    def __init__(
        self,
        chat: ChatEndpoint,
        prompts: Prompts,
        fallback: HandbookTagger,
        max_side: int = 1024,
        *,
        guards: Guards | None = None,
        known: KnownTags | None = None,
        options: str = "",
    ) -> None:
        parts = (ALGORITHM, chat.spec.model, max_side, prompts.version, prompts.handbook.version, options, fallback.version)
        self.version = "-".join(str(part) for part in parts if part != "")
        self.chat = chat
        self.prompts = prompts
        self._handbook: Handbook = prompts.handbook
        self._fallback = fallback
        self._max_side = max_side
        self._guards = guards or Guards()
        self._known = known

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
        prompts: list[Prompt] = [self.prompts.of(note, of, self._known.near(note, of) if self._known else ()) for note, of in notes]
        return self.chat.ask_all([(prompt.endpoint_chat(self._max_side), self.prompts.schema(prompt.category), most) for prompt in prompts])

    def _answer(self, note: NoteEvent, media: NoteMedia, outcome: Completion | TagStreamError) -> NoteTags | str:
        """The answer, or why there is none."""
        if isinstance(outcome, TagStreamError):
            return UNAVAILABLE if isinstance(outcome, Transient) else REFUSED
        found = parse_answer(outcome.text, self._handbook, note.category, self.prompts.max_tags)
        guarded = guard(found, note, media, self._guards, _sure(outcome))
        if not guarded.tags:
            return UNUSABLE
        spoken = [one.utterance.text for one in media.speech]
        language = language_of("\n".join([note.title, note.body, *spoken]))
        degraded = [*media.degraded, *([CUT] if outcome.cut else [])]
        return NoteTags(found.category, guarded.tags, None if language == "other" else language, degraded, media.may_recover)


def _sure(outcome: Completion) -> Callable[[FoundTag], float]:
    """The mean probability of a tag's tokens; where the server tells none, a number that falls with the rank."""
    ends: list[int] = []
    for piece, _ in outcome.tokens:
        ends.append((ends[-1] if ends else 0) + len(piece))
    told = bool(ends) and ends[-1] >= len(outcome.text.encode())
    ranks = count()

    def confidence(tag: FoundTag) -> float:
        rank = next(ranks)
        if not told:
            return 0.9 / (1 + 0.1 * rank)
        start, end = (len(outcome.text[:at].encode()) for at in (tag.start, tag.end))
        within = [chance for (piece, chance), last in zip(outcome.tokens, ends, strict=True) if last > start and last - len(piece) < end]
        return math.exp(sum(within) / len(within)) if within else 0.5

    return confidence
