"""Notes that were tagged without the endpoint, or without a medium that was away, are tagged again: their dead letters are redriven.

The endpoint tells when it answers again. A medium does not: it is tried after the pauses of ``media_upgrade_minutes``, once after each.
What is owed an upgrade is on Kafka alone (reason ``degraded``, with the attempts so far), so a process that dies forgets nothing, and
several that look at the same time send a note twice at worst, which the index takes once. A note that fails time and again is left to
``tagstream dead-letters``.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from models.endpoint_tagger import UNAVAILABLE
from schemas.errors import BadSetting
from schemas.settings import Settings
from schemas.topics import NOTE_EVENTS
from schemas.writes import DEGRADED
from streams.dead_letter_log import DeadLetters, Letter
from streams.dead_letters import Coordinates
from streams.redrive import Asked, Redriver, mark_of
from streams.roles import Sender

AT_A_TIME = 500
MAX_ATTEMPTS = 10
WHY = "it may be tagged better now"
TWIN = "another letter of the same event is sent again"
log = logging.getLogger(__name__)


class Probe(Protocol):
    """Tells whether the endpoint answers."""

    def probe(self) -> bool: ...


class Upgrades:
    """Looks for notes that are due an upgrade.

    Args:
        letters: the dead letters.
        sender: produces.
        endpoint: that was unavailable; None where the tagger needs none.
        namespace: of the topics.
        pauses: minutes before each attempt at a note that only lacks media; none for no such attempts.
        clock: epoch seconds.
    """

    def __init__(
        self,
        letters: DeadLetters,
        sender: Sender,
        endpoint: Probe | None,
        namespace: str = "",
        *,
        pauses: Sequence[float] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._letters = letters
        self._sender = sender
        self._endpoint = endpoint
        self._topic = NOTE_EVENTS.within(namespace).dead_letters
        self._pauses = tuple(pauses)
        self._redriver = Redriver(letters, sender, clock=clock)
        self._clock = clock
        self._looked: tuple[bool, Mapping[str, Mapping[int, int]]] | None = None
        self._next_at = 0.0

    def look(self) -> int:
        """Redrives at most ``AT_A_TIME`` letters. Returns how many were sent.

        Raises:
            TagStreamError: Kafka does not answer, or takes no records.
        """
        answers = self._endpoint is not None and self._endpoint.probe()
        if not answers and not self._pauses:
            return 0
        looked, now = (answers, self._letters.ends([self._topic])), self._clock()
        if looked == self._looked and now < self._next_at:
            return 0
        letters = self._letters.listing([self._topic]).letters
        moments = {letter.id: due_at(letter, self._pauses, answers=answers) for letter in letters}
        self._next_at = min(moments.values(), default=math.inf)
        self._looked = looked
        due, twins = apart([letter for letter in letters if moments[letter.id] <= now], letters)
        self._letters.mark(self._sender, [mark_of(twin, "dropped", int(now * 1000), TWIN) for twin in twins])
        asked = Asked(max_attempts=MAX_ATTEMPTS, why=WHY)
        sent = [one for one in self._redriver.redrive(due[:AT_A_TIME], asked) if one.outcome == "redriven"]
        if sent:
            log.warning("%d of %d notes that lacked the endpoint or a medium are sent to be tagged again", len(sent), len(due))
        return len(sent)


def due_at(letter: Letter, pauses: Sequence[float], *, answers: bool) -> float:
    """The moment, epoch seconds, from which a dead letter is to be redriven; infinity where it is not, or something was done with it.

    Args:
        pauses: minutes before each attempt at a note that only lacks media.
        answers: whether the endpoint answers.
    """
    content = letter.content
    if content.failure.reason != DEGRADED or letter.state not in ("open", "redriving"):
        return math.inf
    if UNAVAILABLE in content.failure.detail:
        return 0.0 if answers and content.attempts < MAX_ATTEMPTS else math.inf
    return content.last_failed_at / 1000 + pauses[content.attempts - 1] * 60 if 0 < content.attempts <= len(pauses) else math.inf


def apart(due: Sequence[Letter], letters: Sequence[Letter]) -> tuple[list[Letter], list[Letter]]:
    """One letter of each event, and the others. Where two bundles have consumers both leave one, and both read whatever is sent again: if
    each letter were sent, their number would double with each attempt.

    Args:
        due: among ``letters``.
        letters: all of the topic.
    """
    known = {letter.id.full: letter for letter in letters}
    first: dict[Coordinates, Letter] = {}
    twins: list[Letter] = []
    for letter in due:
        origin = letter
        while (earlier := known.get(origin.content.redrive_of)) is not None:
            origin = earlier
        if first.setdefault(origin.content.source, letter) is not letter:
            twins.append(letter)
    return list(first.values()), twins


def pauses_of(settings: Settings) -> list[float]:
    """The setting ``media_upgrade_minutes``.

    Raises:
        BadSetting: it is no list of numbers.
    """
    try:
        found = [float(part) for part in settings.media_upgrade_minutes.split(",") if part.strip()]
    except ValueError:
        found = [math.nan]
    if all(0 < pause < math.inf for pause in found) and len(found) < MAX_ATTEMPTS:
        return found
    given = settings.media_upgrade_minutes
    raise BadSetting(
        f"TAGSTREAM_MEDIA_UPGRADE_MINUTES: {given!r}: give nothing, or up to {MAX_ATTEMPTS - 1} positive numbers such as 1,10,60"
    )


def upgrade_now_and_then(look: Callable[[], int], every_s: float) -> Callable[[], None]:
    """Looks every so often in a thread of its own; what is returned ends it."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_s * random.uniform(0.75, 1.25)):  # noqa: S311
            try:
                look()
            except Exception as error:  # whatever the Kafka client raises; the job goes on, and the next look may succeed
                log.warning("upgrades are looked for again later: %s: %s", type(error).__name__, error)

    thread = threading.Thread(target=run, name="upgrades", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join(5.0)

    return end


def start_upgrades(settings: Settings, endpoint: Probe | None, pauses: Sequence[float]) -> Callable[[], None]:
    """Upgrades on Kafka, looked for every ``endpoint_upgrade_s``; what is returned ends them."""
    from streams.scan import span_reader
    from streams.sender import KafkaSender

    letters = DeadLetters(lambda topic: span_reader(settings, topic), settings.namespace)
    sender = KafkaSender(settings)
    upgrades = Upgrades(letters, sender, endpoint, settings.namespace, pauses=pauses)
    end = upgrade_now_and_then(upgrades.look, settings.endpoint_upgrade_s)

    def close() -> None:
        end()
        sender.close()

    return close
