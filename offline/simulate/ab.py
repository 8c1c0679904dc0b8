"""An A/B test on the simulated community, with the recall code that serves.

Readers have a past: what a log of the warm-up days says, where notes were shown by ``interactions.py``. Then they come back every few
hours. Each visit asks ``recall()`` for notes of the last 24 hours by the channels of an arm, the choice model decides, and the actions go
through the job ``update-profiles``, so profiles grow as the arm lets them.

Other than in the field, every reader lives in every arm, with a profile of its own in each, and decides about a note at a place by the same
draws in all of them. Differences between arms are therefore paired by reader, which takes far fewer readers than two groups would.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from offline.simulate.ab_figures import Tally
from offline.simulate.ab_world import World
from offline.simulate.choice import choose
from offline.simulate.draws import Draws, Stream
from offline.simulate.interactions import LOOK_MS, acts, interactions
from offline.simulate.notes import DAY_MS, NOTE_PREFIX, Community
from offline.simulate.readers import Reader, facts_at, reader, shown_to
from recall.query import Query, recall
from schemas.events import Interaction

Say = Callable[[str], None]
CONTROL = "tag_index"
EVERY = ("two_tower", "linear", "tag_embedding", "tag_index_idf")
ARMS: Mapping[str, tuple[str, ...] | None] = {
    CONTROL: ("tag_index", "fresh"),
    "fresh": ("fresh",),
    "two_tower": ("two_tower", "fresh"),
    "all": (*EVERY, "fresh"),
    "served": None,  # what a query gets that names no channels
    **{f"all_but_{name}": (*(other for other in EVERY if other != name), "fresh") for name in EVERY},
}
NOTES_MAX, READERS_MAX = 10**8, 10**7


class Plan(Struct, frozen=True, kw_only=True):
    """What is run. ``readers`` of the log's ``log_readers`` take part; ``visits`` a reader a day; ``k`` notes a visit."""

    arms: Mapping[str, tuple[str, ...] | None] = field(default_factory=lambda: dict(ARMS))
    control: str = CONTROL
    readers: int = 100
    warm_days: int = 3
    days: int = 2
    visits: int = 2
    k: int = 10
    log_readers: int = 1500
    sessions_each: float = 6.0


class _Visitor(NamedTuple):
    """A reader in the test: row of the tally, number in the community."""

    row: int
    number: int
    reader: Reader


class _Visit(NamedTuple):
    arm: str
    number: int
    visitor: _Visitor


def run(community: Community, plan: Plan, world: World, say: Say) -> Tally:
    """Runs the test; ``world`` has the arms of the plan and is empty."""
    visitors = _visitors(community, plan)
    tally = Tally(tuple(plan.arms), len(visitors))
    world.now = _begins(community, plan)
    published = notes_before(community, plan)
    world.publish(community.notes(published))
    past = list(_past(community, plan, visitors))
    for arm in plan.arms:
        world.act(arm, past)
    say(f"{published} notes and {len(past)} events of {len(visitors)} readers before the test")
    for visit in range(plan.days * plan.visits):
        world.now = _begins(community, plan) + (visit + 1) * DAY_MS // plan.visits
        newest = community.published_by(world.now)
        world.publish(community.notes(newest - published, published))
        published = newest
        for arm in plan.arms:
            events = [event for one in visitors for event in _visit(community, plan, world, _Visit(arm, visit, one), tally)]
            world.act(arm, sorted(events, key=lambda event: event.occurred_at))
        say(f"visit {visit + 1} of {plan.days * plan.visits}")
    return tally


def notes_before(community: Community, plan: Plan) -> int:
    """How many notes are published before the test begins; the log that is learned from is about these."""
    return community.published_by(_begins(community, plan))


def _begins(community: Community, plan: Plan) -> int:
    return community.start_ms + plan.warm_days * DAY_MS


def _visitors(community: Community, plan: Plan) -> list[_Visitor]:
    """Readers of the log, spread evenly from the most active to the least active."""
    numbers = dict.fromkeys(place * plan.log_readers // plan.readers for place in range(plan.readers))
    return [_Visitor(row, number, reader(community.seed, number)) for row, number in enumerate(numbers)]


def _past(community: Community, plan: Plan, visitors: Sequence[_Visitor]) -> Iterator[Interaction]:
    """What the visitors did before the test, in order of time."""
    known = {one.reader.user_id for one in visitors}
    log = interactions(community, notes_before(community, plan), plan.log_readers, plan.sessions_each)
    return (event for event in log if event.user_id in known and event.occurred_at <= _begins(community, plan))


def _visit(community: Community, plan: Plan, world: World, visit: _Visit, tally: Tally) -> Iterator[Interaction]:
    """A reader is shown what the arm recalls, top to bottom, and acts."""
    one, at = visit.visitor, world.now
    query = Query(user_id=one.reader.user_id, k=plan.k, fresh_within_ms=DAY_MS, as_of=at, channels=plan.arms[visit.arm])
    name = f"sim-{visit.arm}-{visit.number}-{one.number}"
    for position, result in enumerate(recall(query, world.stores(visit.arm), world.encoder).results):
        index = int(result.note_id.removeprefix(NOTE_PREFIX))
        draws = Draws(community.seed, Stream.ROUND, (visit.number * READERS_MAX + one.number) * NOTES_MAX + index)
        choice = choose(shown_to(one.reader, facts_at(community, index), position), draws)
        at += LOOK_MS
        tally.add(visit.arm, one.row, [part.name for part in result.channels], choice)
        best = min(result.channels, key=lambda part: (part.rank, part.name)).name
        for serial, (action, when, dwell_ms) in enumerate(acts(choice, at)):
            yield Interaction(
                event_id=f"{name}-{position}-{serial}", user_id=one.reader.user_id, note_id=result.note_id, action=action, occurred_at=when,
                channel=best, experiment={"simulated": visit.arm}, dwell_ms=dwell_ms, request_id=name,
            )  # fmt: skip
        at += choice.dwell_ms
