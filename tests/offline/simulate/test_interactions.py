"""Simulated interactions: valid, in order, only on notes that exist, and as the choice model has it."""

import collections
import itertools

import pytest

from offline.simulate.interactions import ARMS, SESSION_NOTES, interactions
from offline.simulate.notes import Community
from offline.simulate.readers import facts_of, reader, shown_to
from schemas.codec import decoder, encode
from schemas.events import Interaction

COMMUNITY = Community(7)
NOTES, USERS = 1200, 120


@pytest.fixture(scope="module")
def events() -> list[Interaction]:
    return list(interactions(COMMUNITY, NOTES, USERS))


def test_events_are_valid_unique_and_in_order(events: list[Interaction]) -> None:
    decode = decoder(Interaction)
    assert all(decode(encode(event), None) == event for event in events)
    assert len({event.event_id for event in events}) == len(events)
    assert [event.occurred_at for event in events] == sorted(event.occurred_at for event in events)
    assert all((event.dwell_ms is not None) == (event.action == "view") for event in events)
    assert {event.channel for event in events} == {"fresh", "tag_index"}
    assert {event.experiment["shown_by"] for event in events} == set(ARMS)


def test_only_published_notes_are_shown_and_none_twice_in_a_session(events: list[Interaction]) -> None:
    shown: dict[str | None, list[str]] = collections.defaultdict(list)
    for event in events:
        note = COMMUNITY.note(int(event.note_id.removeprefix("sim-"))).event
        assert note.published_at <= event.occurred_at
        if event.action == "impression":
            shown[event.request_id].append(event.note_id)
    assert all(len(set(one)) == len(one) <= SESSION_NOTES for one in shown.values())
    assert len(shown) == USERS * 6


def test_nothing_happens_without_what_comes_before_it(events: list[Interaction]) -> None:
    done: dict[tuple[str | None, str], set[str]] = collections.defaultdict(set)
    needs = {"click": "impression", "view": "click", "like": "click", "favorite": "click", "unlike": "like", "unfavorite": "favorite"}
    for event in events:
        before = done[event.request_id, event.note_id]
        assert event.action == "impression" or needs[event.action] in before
        before.add(event.action)


def test_the_same_seed_gives_the_same_events(events: list[Interaction]) -> None:
    assert list(itertools.islice(interactions(COMMUNITY, NOTES, USERS), 500)) == events[:500]
    assert next(interactions(Community(8), NOTES, USERS)) != events[0]


def test_places_and_interests_show_in_the_log(events: list[Interaction]) -> None:
    clicks: collections.Counter[tuple[str, int]] = collections.Counter()
    shown: collections.Counter[tuple[str, int]] = collections.Counter()
    for event in events:
        place = (event.channel or "", int(event.event_id.split("-")[2]))
        shown[place] += event.action == "impression"
        clicks[place] += event.action == "click"
    fresh, tags = (sum(clicks[name, p] for p in range(10)) / sum(shown[name, p] for p in range(10)) for name in ("fresh", "tag_index"))
    assert tags > 1.5 * fresh > 0
    early, late = (sum(clicks["fresh", p] for p in part) for part in (range(5), range(5, 10)))
    assert early > late


def test_readers_meet_what_they_like(events: list[Interaction]) -> None:
    clicked = [event for event in events if event.action == "click" and event.channel == "fresh"]
    seen = [event for event in events if event.action == "impression" and event.channel == "fresh"]

    def mean_match(some: list[Interaction]) -> float:
        matches = [shown_to(reader(7, int(event.user_id[5:])), facts_of(COMMUNITY.note(int(event.note_id[4:]))), 0).match for event in some]
        return sum(matches) / len(matches)

    assert mean_match(clicked) > 2 * mean_match(seen) > 0


def test_a_single_note_and_a_single_reader_will_do() -> None:
    assert {event.note_id for event in interactions(COMMUNITY, 1, 1)} <= {"sim-0000000"}
    assert not list(interactions(COMMUNITY, 5, 5, sessions_each=0))


def test_readers_of_a_circle_share_some_of_what_they_like() -> None:
    """Two readers of one category have more in common when they belong to one circle: the shares fall apart into two groups."""
    likes = [{key for key in reader(7, number).interests if key[0] == "shoes"} for number in range(400)]
    alike = [len(one & other) / len(one | other) for one, other in itertools.combinations([like for like in likes if like], 2)]
    near, far = [share for share in alike if share > 0.2], [share for share in alike if share <= 0.2]
    assert 0.1 < len(near) / len(alike) < 0.35, "one in five"
    assert sum(far) / len(far) < 0.12
