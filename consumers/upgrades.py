"""Notes that were tagged while the endpoint was down are tagged again once it answers: their dead letters are redriven.

What is owed an upgrade is on Kafka alone (reason ``degraded``), so a process that dies forgets nothing, and several that look at the same
time send a note twice at worst, which the index takes once. A note that fails time and again is left to ``tagstream dead-letters``.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from models.endpoint_tagger import UNAVAILABLE
from schemas.settings import Settings
from schemas.topics import NOTE_EVENTS
from schemas.writes import DEGRADED
from streams.dead_letter_log import DeadLetters, Letter
from streams.redrive import Asked, Redriver
from streams.roles import Sender

AT_A_TIME = 500
MAX_ATTEMPTS = 10
WHY = "the endpoint answers again"
log = logging.getLogger(__name__)


class Probe(Protocol):
    """Tells whether the endpoint answers."""

    def probe(self) -> bool: ...


class Upgrades:
    """Looks for notes that are due an upgrade.

    Args:
        letters: the dead letters.
        sender: produces.
        endpoint: that was unavailable.
        namespace: of the topics.
        redriver: sends letters again.
    """

    def __init__(
        self, letters: DeadLetters, sender: Sender, endpoint: Probe, namespace: str = "", redriver: Redriver | None = None
    ) -> None:
        self._letters = letters
        self._endpoint = endpoint
        self._topic = NOTE_EVENTS.within(namespace).dead_letters
        self._redriver = redriver or Redriver(letters, sender)
        self._none_before: Mapping[str, Mapping[int, int]] | None = None

    def look(self) -> int:
        """Redrives at most ``AT_A_TIME`` letters if the endpoint answers. Returns how many were sent.

        Raises:
            TagStreamError: Kafka does not answer, or takes no records.
        """
        if not self._endpoint.probe():
            return 0
        ends = self._letters.ends([self._topic])
        if ends == self._none_before:
            return 0
        due = [letter for letter in self._letters.listing([self._topic]).letters if is_due(letter)]
        self._none_before = None if due else ends
        asked = Asked(max_attempts=MAX_ATTEMPTS, why=WHY)
        sent = [one for one in self._redriver.redrive(due[:AT_A_TIME], asked) if one.outcome == "redriven"]
        if sent:
            log.warning("the endpoint answers again: %d of %d notes tagged without it are sent to be tagged again", len(sent), len(due))
        return len(sent)


def is_due(letter: Letter) -> bool:
    """Whether a dead letter is of a note that lacked the endpoint, and nothing was done with it yet."""
    content = letter.content
    return (
        content.failure.reason == DEGRADED
        and UNAVAILABLE in content.failure.detail
        and letter.state in ("open", "redriving")
        and content.attempts < MAX_ATTEMPTS
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


def start_upgrades(settings: Settings, endpoint: Probe) -> Callable[[], None]:
    """Upgrades on Kafka, every ``endpoint_upgrade_s``; what is returned ends them."""
    from streams.scan import span_reader
    from streams.sender import KafkaSender

    letters = DeadLetters(lambda topic: span_reader(settings, topic), settings.namespace)
    sender = KafkaSender(settings)
    end = upgrade_now_and_then(Upgrades(letters, sender, endpoint, settings.namespace).look, settings.endpoint_upgrade_s)

    def close() -> None:
        end()
        sender.close()

    return close
