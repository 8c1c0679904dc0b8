"""What the readers of a simulated community did, in order of time, in bounded memory.

Readers open the app in sessions; a session shows ten different notes of the last two days, and the choice model decides about each. Two
channels show notes: ``fresh`` draws them evenly (a sample without selection), ``tag_index`` takes those of a larger even draw that match
the reader best, with some noise. The experiment ``shown_by`` says how often a reader's sessions come by ``tag_index``: ``mostly_fresh``
3 in 10, ``mostly_tags`` 7 in 10. One like or favorite in fifty is taken back a minute later.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from offline.simulate.choice import Choice, choose
from offline.simulate.draws import Draws, Stream
from offline.simulate.notes import Community
from offline.simulate.readers import Reader, facts_at, reader, shown_to
from schemas.events import Action, Interaction

SESSION_NOTES = 10
POOL = 60
WINDOW_DAYS = 2
SESSIONS_EACH = 6
REGRET = 0.02
LOOK_MS, REGRET_MS = 900, 60_000
ARMS = {"mostly_fresh": 0.3, "mostly_tags": 0.7}


class _Visit(NamedTuple):
    """A session: its name, when it begins, and how many notes are published by then."""

    name: str
    begins: int
    published: int


def interactions(community: Community, notes: int, users: int, sessions_each: float = SESSIONS_EACH) -> Iterator[Interaction]:
    """Everything that ``users`` readers did with the first ``notes`` notes, ordered by time.

    Args:
        sessions_each: sessions a reader on average; low numbers have more than high ones. The sessions spread evenly over the time in which
            the notes are published.
    """
    sessions = round(users * sessions_each)
    first, last = community.slot_ms(min(notes, SESSION_NOTES)), community.slot_ms(notes)
    waiting: list[tuple[int, str, Interaction]] = []
    for number in range(sessions):
        draws = Draws(community.seed, Stream.SESSION, number)
        begins = first + int((last - first) * (number + draws.uniform()) / sessions)
        earliest = first + int((last - first) * number / sessions)
        while waiting and waiting[0][0] < earliest:
            yield heapq.heappop(waiting)[2]
        one = reader(community.seed, draws.skewed(users))
        visit = _Visit(f"sim-s{number}", begins, min(notes, community.published_by(begins)))
        for event in _session(community, one, visit, draws):
            heapq.heappush(waiting, (event.occurred_at, event.event_id, event))
    while waiting:
        yield heapq.heappop(waiting)[2]


def arm_of(one: Reader) -> str:
    """The reader's arm of the experiment ``shown_by``: even numbers one, odd ones the other."""
    return list(ARMS)[int(one.user_id[-1]) % 2]


def _session(community: Community, one: Reader, visit: _Visit, draws: Draws) -> Iterator[Interaction]:
    """The events of one session."""
    arm = arm_of(one)
    channel = "tag_index" if draws.chance(ARMS[arm]) else "fresh"
    oldest = max(0, visit.published - WINDOW_DAYS * community.notes_a_day)
    pool = list(dict.fromkeys(oldest + draws.below(visit.published - oldest) for _ in range(POOL))) if visit.published > oldest else []
    shown = [facts_at(community, index) for index in pool]
    if channel == "tag_index":
        scored = [(shown_to(one, note, 0), note) for note in shown]
        shown = [note for _, note in sorted(scored, key=lambda pair: -(pair[0].match + pair[0].category + draws.uniform()))]
    at = visit.begins
    for position, note in enumerate(shown[:SESSION_NOTES]):
        at += LOOK_MS
        choice, regrets = choose(shown_to(one, note, position), draws), draws.chance(REGRET)
        for serial, (action, when, dwell_ms) in enumerate(acts(choice, at, regrets)):
            yield Interaction(
                event_id=f"{visit.name}-{position}-{serial}", user_id=one.user_id, note_id=note.note_id, action=action, occurred_at=when,
                channel=channel, experiment={"shown_by": arm}, dwell_ms=dwell_ms, request_id=visit.name,
            )  # fmt: skip
        at += choice.dwell_ms


def acts(choice: Choice, at: int, regrets: bool = False) -> Iterator[tuple[Action, int, int | None]]:
    """Action, time and dwell of everything that a choice comes to, seen at ``at``."""
    yield "impression", at, None
    if not choice.click:
        return
    yield "click", at + 1, None
    done = at + choice.dwell_ms
    yield "view", done, choice.dwell_ms
    undone: tuple[tuple[bool, Action, Action], ...] = ((choice.like, "like", "unlike"), (choice.favorite, "favorite", "unfavorite"))
    for did, act, undo in undone:
        if did:
            yield act, done + 1, None
            if regrets:
                yield undo, done + REGRET_MS, None
