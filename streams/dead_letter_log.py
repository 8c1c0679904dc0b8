"""The dead letters of every source topic, and what was done with each.

A dead letter is never changed. What was done with it is the newest mark of its id in the topic ``dead-letter-marks``; that its event was
sent again and failed again is known from the later letter, which names it (``tagstream-dl-redrive-of``). Nothing here joins a group.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from schemas.codec import decoder, encode, version_headers
from schemas.errors import InvalidEvent, TagStreamError
from schemas.events import DeadLetterMark, Interaction
from schemas.records import Message
from schemas.topics import DEAD_LETTER_MARKS, SOURCES, Topic, source_id
from streams.dead_letters import DeadLetter, read_dead_letter
from streams.letter_match import Facts
from streams.roles import Outgoing, Reader, Sender, Span

State = Literal["open", "redriving", "redriven", "failed_again", "dropped"]
STATES: tuple[State, ...] = get_args(State)
Open = Callable[[str], AbstractContextManager[Reader]]
"""A reader of a topic, by its name within the namespace."""


class LetterId(Struct, frozen=True, order=True):
    """Where a dead letter is. ``shown`` is what people type, ``full`` also tells a recreated topic from the former one."""

    topic: str
    partition: int
    offset: int
    topic_uuid: str = ""

    @property
    def shown(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def full(self) -> str:
        return f"{source_id(self.topic, self.topic_uuid)}/{self.partition}/{self.offset}"


class Letter(Struct, frozen=True):
    """A dead letter with what became of it.

    ``content.value`` is None in a listing; ``size`` is its length, -1 where there is none. ``ids``: ``note_id``, ``user_id`` and
    ``event_id`` as far as the record tells them. ``failed_as``: later letters of the same event, sent again from this one.
    """

    id: LetterId
    source: Topic
    content: DeadLetter
    size: int
    ids: dict[str, str]
    state: State = "open"
    mark: DeadLetterMark | None = None
    failed_as: tuple[str, ...] = ()

    @property
    def job(self) -> str:
        """The job that gave it up."""
        return self.content.failure.stage.partition("/")[0]

    def facts(self) -> Facts:
        """What ``--match`` can ask."""
        letter, failure = self.content, self.content.failure
        return {
            "id": self.id.shown,
            "state": self.state,
            "reason": failure.reason,
            "stage": failure.stage,
            "field": failure.field,
            "detail": failure.detail,
            "topic": letter.source.topic,
            "partition": letter.source.partition,
            "offset": letter.source.offset,
            "key": None if letter.key is None else letter.key.decode(errors="replace"),
            "attempts": letter.attempts,
            "size": self.size,
            "first_failed_at": letter.first_failed_at,
            "last_failed_at": letter.last_failed_at,
            "at": letter.last_failed_at,
            **self.ids,
        }


class Listing(Struct, frozen=True):
    """``letters`` by topic, partition and offset; ``unreadable``: records of the topics that are no dead letters, by topic."""

    letters: list[Letter]
    unreadable: dict[str, int] = field(default_factory=dict)


class DeadLetters:
    """Reads the dead letters under a namespace and keeps the marks.

    Args:
        open_reader: opens topics.
        namespace: of the topics.
    """

    def __init__(self, open_reader: Open, namespace: str = "") -> None:
        self.open_reader = open_reader
        self._namespace = namespace
        self._marks = DEAD_LETTER_MARKS.within(namespace).name
        self._sources = {topic.dead_letters: topic for topic in (source.within(namespace) for source in SOURCES)}

    def listing(self, topics: Sequence[str] | None = None) -> Listing:
        """Every dead letter, without its value.

        Args:
            topics: dead-letter topics to read; by default all.

        Raises:
            MissingPrerequisite: a topic does not exist.
            Transient: no broker answers.
        """
        marks = self.marks()
        letters: list[Letter] = []
        unreadable: dict[str, int] = {}
        for name, source in self._sources.items():
            if topics is not None and name not in topics:
                continue
            with self.open_reader(name) as reader:
                for span in reader.spans():
                    for message in reader.read(span):
                        found = _letter(message, reader, source)
                        if found is None:
                            unreadable[name] = unreadable.get(name, 0) + 1
                        else:
                            letters.append(replace(found, content=replace(found.content, value=None)))
        failed: dict[str, list[str]] = {}
        for letter in letters:
            if letter.content.redrive_of:
                failed.setdefault(letter.content.redrive_of, []).append(letter.id.shown)
        return Listing([_with_state(one, marks.get(one.id.full), tuple(failed.get(one.id.full, ()))) for one in letters], unreadable)

    def with_values(self, letters: Sequence[Letter]) -> Iterator[Letter]:
        """The letters again, with their values, by topic, partition and offset."""
        places: dict[tuple[str, int], dict[int, Letter]] = {}
        for letter in letters:
            places.setdefault((letter.id.topic, letter.id.partition), {})[letter.id.offset] = letter
        for (topic, partition), wanted in sorted(places.items()):
            with self.open_reader(topic) as reader:
                for message in reader.read(Span(partition, min(wanted), max(wanted) + 1)):
                    if (found := wanted.get(message.offset() or 0)) is not None:
                        yield replace(found, content=read_dead_letter(message))

    def since(self, starts: Mapping[str, Mapping[int, int]]) -> Iterator[Letter]:
        """Dead letters from these offsets on, by topic and partition, with their values."""
        for topic, of in starts.items():
            with self.open_reader(topic) as reader:
                for span in reader.spans():
                    for message in reader.read(Span(span.partition, max(span.start, of.get(span.partition, 0)), span.end)):
                        if (letter := _letter(message, reader, self._sources[topic])) is not None:
                            yield letter

    def ends(self, topics: Sequence[str]) -> dict[str, dict[int, int]]:
        """Next offsets of the topics, by partition."""
        found: dict[str, dict[int, int]] = {}
        for topic in topics:
            with self.open_reader(topic) as reader:
                found[topic] = {span.partition: span.end for span in reader.spans()}
        return found

    def marks(self) -> dict[str, DeadLetterMark]:
        """The newest mark of each letter, by its full id."""
        decode = decoder(DeadLetterMark)
        marks: dict[str, DeadLetterMark] = {}
        with self.open_reader(self._marks) as reader:
            for span in reader.spans():
                for message in reader.read(span):
                    letter = (message.key() or b"").decode(errors="replace")
                    if message.value() is None:
                        marks.pop(letter, None)
                        continue
                    try:
                        marks[letter] = decode(message.value(), message.headers())
                    except InvalidEvent:
                        continue
        return marks

    def mark(self, sender: Sender, marks: Sequence[DeadLetterMark], unmarked: Sequence[LetterId] = ()) -> None:
        """Writes marks, and takes those of ``unmarked`` letters back; returns when they are acknowledged.

        Raises:
            TagStreamError: the broker refuses one.
        """
        records = [Outgoing(self._marks, 0, mark.letter.encode(), encode(mark), version_headers(mark)) for mark in marks]
        records += [Outgoing(self._marks, 0, letter.full.encode(), None, []) for letter in unmarked]
        for answer in sender.send(records) if records else ():
            if isinstance(answer, str):
                raise TagStreamError(f"{self._marks} does not take a mark: {answer}")

    def find(self, listing: Listing, name: str) -> Letter | None:
        """The letter of an id as people type it, with the namespace or without."""
        known = {letter.id.shown: letter for letter in listing.letters}
        return known.get(name) or known.get(f"{self._namespace}.{name}")


def open_all(open_reader: Open, topics: Sequence[str], stack: ExitStack) -> dict[str, Reader]:
    """Readers of several topics, closed with the stack."""
    return {topic: stack.enter_context(open_reader(topic)) for topic in topics}


def _letter(message: Message, reader: Reader, source: Topic) -> Letter | None:
    try:
        content = read_dead_letter(message)
    except ValueError:
        return None
    letter_id = LetterId(reader.topic, message.partition() or 0, message.offset() or 0, reader.topic_uuid)
    return Letter(letter_id, source, content, -1 if content.value is None else len(content.value), _ids(content, source))


def _with_state(letter: Letter, mark: DeadLetterMark | None, failed_as: tuple[str, ...]) -> Letter:
    state: State = "failed_again" if failed_as else mark.state if mark is not None else "open"
    return replace(letter, state=state, mark=mark, failed_as=failed_as)


def _ids(content: DeadLetter, source: Topic) -> dict[str, str]:
    """From the value where it is a JSON object; from the key, which is the note or the reader, where it is not."""
    try:
        found: Any = msgspec.json.decode(content.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    ids = {}
    if isinstance(found, dict):
        ids = {name: found[name] for name in ("note_id", "user_id", "event_id") if isinstance(found.get(name), str)}
    keyed_by = "user_id" if source.event is Interaction else "note_id"
    if keyed_by not in ids and content.key is not None:
        ids[keyed_by] = content.key.decode(errors="replace")
    return ids
