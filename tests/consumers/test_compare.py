"""Two bundles on the in-memory twins, and the log in memory: what a comparison sees, and what stands against a switch."""

import msgspec
import pytest

import consumers.compare
from consumers.compare import Log, Side, Sizes, compare
from models.bundle import Learned
from models.roles import NoteTags
from recall.build import Live
from schemas.codec import encode, version_headers
from schemas.errors import MissingPrerequisite
from schemas.events import Interaction, NoteEvent, Tag
from schemas.settings import Settings
from streams.memory import MemoryMessage
from tests.recall.world import HOUR, NOW, WordEncoder, World


class TitleTagger:
    """Test double: the tags of a note are the parts of its title."""

    name = version = "title"
    sees = hears = False

    def tag(self, notes, media=None):
        return [
            NoteTags(None, [Tag(text=t, dimension="d", rank=rank, confidence=0.9) for rank, t in enumerate(note.title.split(", "), 1)])
            for note in notes
        ]


class Pair:
    """Bundles ``a`` (live) and ``b`` with what the topics hold."""

    def __init__(self):
        self.a, self.b = World(), World()
        self.records = {"note-events": [], "interactions": []}
        self.people = set()

    def note(self, note_id, title, *, b=None, age_h=1.0, in_b=True):
        """A note event; ``b``: tags that the second bundle holds instead of those of the title."""
        at = NOW - round(age_h * HOUR)
        event = NoteEvent(type="note.published", note_id=note_id, author_id="author", title=title, occurred_at=at, published_at=at)
        self._put("note-events", note_id, event)
        self.a.note(note_id, *title.split(", "), age_h=age_h)
        if in_b:
            self.b.note(note_id, *(b or title).split(", "), age_h=age_h)

    def act(self, user_id, note_id, action="like", *, in_b=True):
        number = len(self.records["interactions"])
        event = Interaction(event_id=f"e{number}", user_id=user_id, note_id=note_id, action=action, occurred_at=NOW - HOUR)
        self._put("interactions", user_id, event)
        self.people.add(user_id)
        self.a.act(user_id, action, note_id)
        if in_b:
            self.b.act(user_id, action, note_id)

    def _put(self, topic, key, event):
        records = self.records[topic]
        message = MemoryMessage(
            topic=topic, partition=0, offset=len(records), value=encode(event), key=key.encode(), headers=version_headers(event)
        )
        records.append(message)

    def find(self, topic, keys):
        return [message for message in self.records[topic.name] if message.key().decode() in keys], True

    def compare(self, *, lag=0, settings=None, sizes=None):
        sides = []
        for version, world in (("b1", self.a), ("b2", self.b)):
            people = sorted(user for user, held in world.profiles.read(sorted(self.people)).items() if held.version)
            made = Learned(TitleTagger, WordEncoder(), version, {}, {}) if sides else None
            census = lambda count, people=people: (len(people), people[:count])  # noqa: E731
            sides.append(Side(version, settings or Settings(), Live(world.stores, world.encoder), census, made))
        return compare(*sides, Log(self.find, {"tag-notes": lag}, NOW), sizes or Sizes())


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(consumers.compare, "LOOK_AGAIN_S", 0.0)
    made = Pair()
    made.note("tea", "green tea, oolong")
    made.note("cake", "lemon cake, oat milk")
    made.note("shoes", "trail shoes, wide toe box", age_h=3)
    made.note("more", "green tea, matcha bowl", age_h=2)
    made.act("u", "tea")
    made.act("v", "shoes", "favorite")
    made.act("v", "cake", "click")
    return made


def test_two_bundles_that_agree(pair):
    found = pair.compare()
    assert (found.a, found.b, found.faults) == ("b1", "b2", [])
    assert (found.notes.a, found.notes.b, found.notes.share) == (4, 4, 1.0)
    assert (found.readers.a, found.readers.share) == (2, 1.0)
    assert (found.tags.notes, found.tags.same, found.tags.jaccard) == (4, 4, 1.0)
    assert found.vectors["tag"].comparable and found.vectors["tag"].cosine_mean == 1.0
    assert (found.recall.notes, found.recall.reasons) == (1.0, 1.0)
    assert (found.recomputed.notes, found.recomputed.readers, found.recomputed.differ) == (4, 2, {})


def test_what_is_missing_is_named_and_stands_against_a_switch(pair):
    pair.note("lost", "red wine", in_b=False)
    pair.act("w", "tea", in_b=False)
    found = pair.compare()
    assert found.notes.missing == ["lost"] and found.notes.share == pytest.approx(0.8)
    assert found.readers.missing == ["w"]
    assert [fault.split(";")[0] for fault in found.faults] == [
        "80.00% of the notes are there, 99.90% wanted",
        "66.67% of the readers are there, 99.90% wanted",
    ]
    assert pair.compare(settings=Settings(rollout_coverage=0.5)).faults == []


def test_a_bundle_whose_tags_the_topic_does_not_give_is_found_out(pair):
    pair.note("wrong", "blue cheese, walnut", b="blue cheese, rye bread")
    found = pair.compare()
    assert found.tags.same == 4 and found.tags.examples == [{"note_id": "wrong", "only_a": ["walnut"], "only_b": ["rye bread"]}]
    assert found.vectors["tag"].cosine_p5 < 0.99
    assert set(found.recomputed.differ) == {"wrong"} and "rye bread" in found.recomputed.differ["wrong"]
    assert "1 of 7 sampled differ from the topics, first wrong" in found.faults[0]


def test_a_reader_whose_scores_the_topic_does_not_give_is_found_out(pair):
    pair.b.act("u", "like", "cake")
    assert "lemon cake" in pair.compare().recomputed.differ["u"]
    pair.act("v", "more")
    pair.records["interactions"].append(pair.records["interactions"][-1])
    assert set(pair.compare().recomputed.differ) == {"u"}, "a copy of an event counts once"


def test_a_vector_that_is_missing_is_found_out(pair):
    from schemas.writes import DropVector

    pair.b.index.drop([DropVector("tea")])
    assert pair.compare().recomputed.differ == {"tea": "its vector in space tag is missing"}


def test_what_arrives_while_it_looks_is_no_fault(pair, monkeypatch):
    pair.note("late", "red wine", in_b=False)
    sleeps = []

    def arrive(seconds):
        sleeps.append(seconds)
        pair.b.note("late", "red wine")

    monkeypatch.setattr(consumers.compare.time, "sleep", arrive)
    found = pair.compare()
    assert found.faults == [] and found.notes.share == 1.0 and len(sleeps) == 1


def test_a_lag_stands_against_a_switch(pair):
    assert pair.compare(lag=100).faults == []
    assert pair.compare(lag=101).faults == ["tag-notes is 101 records behind"]


def test_a_bundle_of_another_dimension_is_not_compared_by_vectors(pair):
    class Wide(WordEncoder):
        dimension = 65

    pair.b.encoder = Wide()
    assert not pair.compare(sizes=Sizes(readers=1, recomputed=0)).vectors["tag"].comparable


def test_an_empty_bundle_is_told(pair):
    pair.b = World()
    with pytest.raises(MissingPrerequisite, match="bundle b2 holds no notes; run `tagstream replay all --into b2`"):
        pair.compare()


def test_it_is_one_json_document(pair):
    document = msgspec.to_builtins(pair.compare())
    assert set(document) == {"a", "b", "notes", "readers", "tags", "vectors", "recall", "recomputed", "lag", "faults"}
