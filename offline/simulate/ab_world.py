"""The online system on its in-memory twins, fed with a simulated community: the jobs that serve write the stores, ``recall()`` reads them.

Notes and their vectors are shared by the arms, so what differs between arms is recall alone; each arm has reader profiles of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

from consumers.index_notes import IndexNotes
from consumers.tag_notes import TagNotes
from consumers.update_profiles import UpdateProfiles
from models.roles import Space, TagEncoder, Tagger
from models.spaces import load_space
from offline.choose_recall import Chosen, Say, choose
from offline.recall_baselines import encode_tags
from offline.recall_data import load_dataset, with_tagged
from offline.recall_task import whole_task
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.write import write_dataset
from offline.write_spaces import SERVED, write_spaces
from recall.memory_index import MemoryNoteIndex
from recall.memory_notes import MemoryNotes
from recall.note_tags import StoredNoteTags
from recall.profiles import MemoryProfiles
from recall.query import RecallStores
from schemas.events import Interaction, NoteEvent, NoteTagged
from schemas.records import Received
from schemas.settings import Settings
from schemas.topics import NOTE_TAGGED
from schemas.writes import Publish, PutNote, PutProfile, PutVector, Write
from streams.memory import MemoryMessage

BUNDLE = "simulated"
NOTES_A_BATCH = 200
DIMENSION = 256
RANKING = 50  # notes of a ranking that settings are chosen by, as when towers are trained
SPACES = ("linear", "two_tower")
E = TypeVar("E", NoteEvent, NoteTagged)
_NO_BYTES = MemoryMessage(topic="simulated", partition=0, offset=0, value=b"")


class Log(NamedTuple):
    """What is learned from: the first notes of a community, and what readers did with them."""

    community: Community
    notes: int
    readers: int
    sessions_each: float


class World:
    """The stores of all arms.

    Args:
        arms: their names.
        encoder: of tags.
        tagger: of notes.
        spaces: learned ones that are channels too.
        weights: of the merge, by channel; None: the defaults.
    """

    def __init__(
        self,
        arms: Sequence[str],
        encoder: TagEncoder,
        tagger: Tagger,
        spaces: Sequence[Space] = (),
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.now = 0
        self.encoder = encoder
        self._settings = Settings()
        self._notes = MemoryNotes()
        self._spaces = {space.name: space for space in spaces}
        weights = Chosen().weights if weights is None else weights
        self._weights = {name: weight for name, weight in weights.items() if name in SERVED}
        dimensions = {name: space.dimension for name, space in self._spaces.items()}
        self._index = MemoryNoteIndex(encoder.dimension, clock=lambda: self.now, spaces=dimensions)
        self._tag = TagNotes(tagger, BUNDLE, NOTE_TAGGED.name, clock=lambda: self.now)
        self._job = IndexNotes(self._notes, encoder, BUNDLE, spaces)
        self._profiles = {arm: MemoryProfiles() for arm in arms}
        self._offsets = dict.fromkeys(arms, 0)

    def stores(self, arm: str) -> RecallStores:
        """What a query of an arm reads."""
        return RecallStores(self._profiles[arm], self._notes, self._index, self._settings, BUNDLE, self._spaces, self._weights)

    def publish(self, notes: Iterable[SimulatedNote]) -> None:
        """Notes arrive, are tagged by the job ``tag-notes`` and indexed by ``index-notes``."""
        events = [note.event for note in notes]
        for start in range(0, len(events), NOTES_A_BATCH):
            tagged = self._tag.handle([_received(event) for event in events[start : start + NOTES_A_BATCH]])
            writes = self._job.handle(
                [_received(write.event) for write in tagged if isinstance(write, Publish) and isinstance(write.event, NoteTagged)]
            )
            assert not self._notes.put([write for write in writes if isinstance(write, PutNote)]), "nobody else writes these records"
            self._index.upsert([write for write in writes if isinstance(write, PutVector)])

    def act(self, arm: str, events: Sequence[Interaction]) -> None:
        """Interactions of an arm arrive, and are applied to its profiles by the job ``update-profiles``."""
        first = self._offsets[arm]
        self._offsets[arm] += len(events)
        received = [Received(event, "interactions@1", 0, first + place, _NO_BYTES) for place, event in enumerate(events)]
        writes: list[Write] = UpdateProfiles(self._profiles[arm], StoredNoteTags(self._notes), self._settings).handle(received)
        refused = self._profiles[arm].write([write for write in writes if isinstance(write, PutProfile)])
        assert not refused, "nobody else writes these records"


@contextmanager
def learned_spaces(log: Log, encoder: TagEncoder, tagger: Tagger, say: Say | None = None) -> Iterator[tuple[list[Space], Chosen]]:
    """The linear space and the two towers, trained as ``tagstream offline towers export`` does, on a log whose notes the tagger tags, and
    what they were trained with.

    Args:
        say: takes the progress of choosing settings and merge on pseudo-cold notes of the log; None: the default settings.
    """
    with TemporaryDirectory(prefix="simulated-") as place:
        write_dataset(log.community, Path(place) / "log", log.notes, log.readers, lambda _: None, sessions_each=log.sessions_each)
        data = load_dataset(Path(place) / "log")
        answers = tagger.tag(data.events or [])
        data = with_tagged(data, {note: answer.tags for note, answer in zip(data.notes, answers, strict=True)})
        task, seed = whole_task(data, "random"), log.community.seed % 2**31
        chosen = Chosen() if say is None else choose(task, encode_tags(task, encoder), RANKING, seed, say)
        write_spaces(task, encoder, chosen, Path(place) / "spaces", dimension=DIMENSION, seed=seed)
        yield [load_space(Path(place) / "spaces" / name, encoder) for name in SPACES], chosen


def _received(event: E) -> Received[E]:
    """A note's event as it comes from its topic; these jobs do not look at offsets."""
    return Received(event, "simulated@1", 0, 0, _NO_BYTES)
