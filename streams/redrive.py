"""Sends the events of dead letters again, each to the topic and partition where it failed, so that the stages before that are not repeated.

Per chunk of letters: a mark ``redriving`` with the end of the partition, acknowledged; the records, acknowledged; a mark ``redriven`` with
their places. A crash in between leaves ``redriving`` behind: the next redrive looks from the end noted on whether the copy arrived, and
sends it only if it did not. Two commands at the same moment can still send a letter twice; what reads the topic applies it once.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.codec import decoder
from schemas.errors import InvalidEvent
from schemas.events import DeadLetterMark
from schemas.topics import source_id
from streams.dead_letter_log import DeadLetters, Letter, open_all
from streams.dead_letters import Coordinates, redrive_headers, sent_again_from
from streams.roles import Outgoing, Reader, Sender, Span

METRICS_JOB = "metrics"
CHUNK_LETTERS = 200
CHUNK_BYTES = 16_000_000
SETTLE_S = 5.0
"""How old the mark of an unfinished redrive must be: what a process that was killed had under way has arrived by then, or never will."""


class Asked(Struct, frozen=True, kw_only=True):
    """How to redrive. ``again``: also what was redriven or dropped; ``corrected``: another value for the one letter; ``why``: for the
    mark."""

    again: bool = False
    max_attempts: int = 5
    corrected: bytes | None = None
    why: str = ""


class Redriven(Struct, frozen=True):
    """What became of one letter. ``to``: where its event is now; ``detail``: why it was refused, or what to expect."""

    letter: Letter
    outcome: Literal["redriven", "refused", "possible"]
    to: Coordinates | None = None
    detail: str = ""


class Redriver:
    """Sends letters again.

    Args:
        log: the dead letters and their marks.
        sender: produces.
        clock: epoch seconds.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        log: DeadLetters,
        sender: Sender,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log = log
        self._sender = sender
        self._clock = clock
        self._pause = pause

    def redrive(self, letters: Sequence[Letter], asked: Asked) -> Iterator[Redriven]:
        """Sends them in the order of their topics, partitions and offsets, chunk by chunk.

        Args:
            letters: of a ``Listing``.

        Raises:
            Transient: no broker answers; what was not told yet may be sent or not, another redrive finds out.
        """
        for chunk in self._chunks(letters):
            with ExitStack() as stack:
                topics = open_all(self._log.open_reader, sorted({letter.source.name for letter in chunk}), stack)
                yield from self._chunk(chunk, asked, topics)

    def _chunks(self, letters: Sequence[Letter]) -> Iterator[list[Letter]]:
        chunk: list[Letter] = []
        size = 0
        for letter in sorted(letters, key=lambda one: one.id):
            if chunk and (len(chunk) == CHUNK_LETTERS or size + letter.size > CHUNK_BYTES or letter.id.topic != chunk[0].id.topic):
                yield list(self._log.with_values(chunk))
                chunk, size = [], 0
            chunk.append(letter)
            size += letter.size
        if chunk:
            yield list(self._log.with_values(chunk))

    def _chunk(self, letters: Sequence[Letter], asked: Asked, topics: dict[str, Reader]) -> Iterator[Redriven]:
        refused = {letter.id: reason for letter in letters if (reason := refusal(letter, asked))}
        allowed = [letter for letter in letters if letter.id not in refused]
        ends = {(name, span.partition): span.end for name, reader in topics.items() for span in reader.spans()}
        for letter in [one for one in allowed if (one.source.name, one.content.source.partition) not in ends]:
            refused[letter.id] = f"topic {letter.source.name} has no partition {letter.content.source.partition} any more"
        found = self._found([letter for letter in allowed if letter.state == "redriving" and letter.id not in refused], topics)
        to_send = [letter for letter in allowed if letter.id not in refused and letter.id.full not in found]
        begun = [self._mark(one, asked, topics[one.source.name], ends[_place(one)], sent=False) for one in to_send]
        self._log.mark(self._sender, begun)
        answers = self._sender.send([self._record(letter, asked) for letter in to_send])
        sent = {letter.id.full: answer for letter, answer in zip(to_send, answers, strict=True)}
        places = found | {name: offset for name, offset in sent.items() if isinstance(offset, int)}
        ended = [
            self._mark(one, asked, topics[one.source.name], places[one.id.full], sent=True, found=one.id.full in found)
            for one in allowed
            if one.id.full in places
        ]
        self._log.mark(self._sender, ended, [one.id for one in to_send if one.id.full not in places])
        for letter in letters:
            if letter.id.full in places:
                to = Coordinates(letter.source.name, letter.content.source.partition, places[letter.id.full])
                earlier = "it had been sent by a redrive that did not end" if letter.id.full in found else ""
                yield Redriven(letter, "redriven", to, earlier or expected(letter, asked))
            else:
                detail = refused.get(letter.id) or f"{letter.source.name} does not take it: {sent[letter.id.full]}"
                yield Redriven(letter, "refused", detail=detail)

    def _found(self, letters: Sequence[Letter], topics: dict[str, Reader]) -> dict[str, int]:
        """Offsets of copies that unfinished redrives sent, by full id of their letter."""
        wanted: dict[tuple[str, int], dict[str, int]] = {}
        for letter in letters:
            mark = letter.mark
            assert mark is not None and mark.to_offset is not None
            if mark.to_topic == source_id(letter.source.name, topics[letter.source.name].topic_uuid):
                wanted.setdefault(_place(letter), {})[letter.id.full] = mark.to_offset
        newest = max((letter.mark.at for letter in letters if letter.mark is not None), default=0)
        if (left := newest / 1000 + SETTLE_S - self._clock()) > 0 and wanted:
            self._pause(min(left, SETTLE_S))
        found: dict[str, int] = {}
        for (topic, partition), starts in wanted.items():
            reader = topics[topic]
            (end,) = [span.end for span in reader.spans() if span.partition == partition]
            for message in reader.read(Span(partition, min(starts.values()), end)):
                origin = sent_again_from(message.headers())
                if origin in starts and (message.offset() or 0) >= starts[origin]:
                    found[origin] = message.offset() or 0
        return found

    def _record(self, letter: Letter, asked: Asked) -> Outgoing:
        corrected = asked.corrected is not None
        headers = redrive_headers(letter.content, letter.id.full, corrected=corrected)
        value = asked.corrected if corrected else letter.content.value
        return Outgoing(letter.source.name, letter.content.source.partition, letter.content.key, value, headers)

    def _mark(self, letter: Letter, asked: Asked, reader: Reader, offset: int, *, sent: bool, found: bool = False) -> DeadLetterMark:
        """With ``found`` the copy is one that an earlier redrive sent."""
        return replace(
            mark_of(letter, "redriven" if sent else "redriving", int(self._clock() * 1000), asked.why),
            to_topic=source_id(reader.topic, reader.topic_uuid),
            to_partition=letter.content.source.partition,
            to_offset=offset,
            corrected=letter.mark.corrected if found and letter.mark is not None else asked.corrected is not None,
        )


def plan(log: DeadLetters, letters: Sequence[Letter], asked: Asked) -> Iterator[Redriven]:
    """What ``Redriver.redrive`` would do; nothing is written."""
    for letter in log.with_values(letters):
        refused = refusal(letter, asked)
        yield Redriven(letter, "refused" if refused else "possible", detail=refused or expected(letter, asked))


def mark_of(letter: Letter, state: Literal["redriving", "redriven", "dropped"], at: int, why: str = "") -> DeadLetterMark:
    """A mark of a letter at a time, epoch ms."""
    content = letter.content
    return DeadLetterMark(letter=letter.id.full, state=state, at=at, reason=content.failure.reason, attempts=content.attempts, why=why)


def refusal(letter: Letter, asked: Asked) -> str:
    """Why a letter is not sent again; empty where it is."""
    content = letter.content
    if content.source.topic != letter.source.name:
        return f"its header tagstream-dl-source names topic {content.source.topic}, its dead-letter topic is that of {letter.source.name}"
    if content.failure.stage.partition("/")[0] == METRICS_JOB:
        return "the metrics job counts beside the job that the topic is for; redrive that job's letter of the same record"
    if letter.state == "failed_again" and not asked.again:
        return f"it was redriven and failed again as {', '.join(letter.failed_as)}; redrive that"
    if letter.state in ("redriven", "dropped") and not asked.again:
        return f"it is {letter.state} already; --again sends it all the same"
    if content.attempts >= asked.max_attempts:
        return f"it failed {content.attempts} times, --max-attempts is {asked.max_attempts}; mend the cause, then give a higher one"
    return ""


def expected(letter: Letter, asked: Asked) -> str:
    """A warning where the event will fail again for sure: it does not decode here either."""
    assert letter.source.event is not None
    try:
        decoder(letter.source.event)(letter.content.value if asked.corrected is None else asked.corrected, letter.content.headers)
    except InvalidEvent as error:
        return f"it will fail again, it is no valid event here either: {error}"
    return ""


def _place(letter: Letter) -> tuple[str, int]:
    return letter.source.name, letter.content.source.partition
