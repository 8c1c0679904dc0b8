"""The online system on its in-memory twins, fed with a simulated community: the jobs that serve write the stores, ``recall()`` reads them.

Notes carry their true tags, as a perfect tagger would give them, so what differs between arms is recall alone. Notes and their vectors are
shared by the arms; each arm has reader profiles of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from consumers.index_notes import IndexNotes
from consumers.update_profiles import UpdateProfiles
from models.roles import Space, TagEncoder
from models.spaces import load_space
from offline.choose_recall import Chosen
from offline.recall_data import load_dataset
from offline.recall_task import whole_task
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.write import write_dataset
from offline.write_spaces import SERVED, write_spaces
from recall.memory_index import MemoryNoteIndex
from recall.note_tags import StoredNoteTags
from recall.notes import MemoryNotes
from recall.profiles import MemoryProfiles
from recall.query import RecallStores
from schemas.events import Evidence, Interaction, NoteTagged, Tag
from schemas.records import Received
from schemas.settings import Settings
from schemas.writes import PutNote, PutProfile, PutVector, Write
from streams.memory import MemoryMessage

BUNDLE = "simulated"
NOTES_A_BATCH = 200
DIMENSION = 256
SPACES = ("linear", "two_tower")
_NO_BYTES = MemoryMessage(topic="simulated", partition=0, offset=0, value=b"")


class World:
    """The stores of all arms.

    Args:
        arms: their names.
        encoder: of tags.
        spaces: learned ones that are channels too.
    """

    def __init__(self, arms: Sequence[str], encoder: TagEncoder, spaces: Sequence[Space] = ()) -> None:
        self.now = 0
        self.encoder = encoder
        self._settings = Settings()
        self._notes = MemoryNotes()
        self._spaces = {space.name: space for space in spaces}
        dimensions = {name: space.dimension for name, space in self._spaces.items()}
        self._index = MemoryNoteIndex(encoder.dimension, clock=lambda: self.now, spaces=dimensions)
        self._job = IndexNotes(self._notes, encoder, BUNDLE, spaces)
        self._profiles = {arm: MemoryProfiles() for arm in arms}
        self._offsets = dict.fromkeys(arms, 0)

    def stores(self, arm: str) -> RecallStores:
        """What a query of an arm reads."""
        weights = {name: weight for name, weight in Chosen().weights.items() if name in SERVED}
        return RecallStores(self._profiles[arm], self._notes, self._index, self._settings, BUNDLE, self._spaces, weights)

    def publish(self, notes: Iterable[SimulatedNote]) -> None:
        """Notes arrive with their true tags, and are indexed by the job ``index-notes``."""
        events = [_tagged(note) for note in notes]
        for start in range(0, len(events), NOTES_A_BATCH):
            some = events[start : start + NOTES_A_BATCH]
            batch = [Received(event, "note-tagged@1", 0, start + place, _NO_BYTES) for place, event in enumerate(some)]
            writes = self._job.handle(batch)
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
def learned_spaces(community: Community, notes: int, users: int, sessions_each: float, encoder: TagEncoder) -> Iterator[list[Space]]:
    """The linear space and the two towers, trained as ``tagstream offline towers export`` does on what readers did with the first notes."""
    with TemporaryDirectory(prefix="simulated-") as place:
        write_dataset(community, Path(place) / "log", notes, users, lambda _: None, sessions_each=sessions_each)
        task = whole_task(load_dataset(Path(place) / "log"), "random")
        write_spaces(task, encoder, Chosen(), Path(place) / "spaces", dimension=DIMENSION, seed=community.seed % 2**31)
        yield [load_space(Path(place) / "spaces" / name, encoder) for name in SPACES]


def _tagged(note: SimulatedNote) -> NoteTagged:
    event, truth = note
    tags: list[Tag] = []
    for attribute in truth.attributes:
        if attribute.text(truth.language) not in {tag.text for tag in tags}:
            tags.append(
                Tag(
                    text=attribute.text(truth.language), dimension=attribute.dimension, rank=len(tags) + 1, confidence=1.0,
                    evidence=[Evidence(source=attribute.sources[0])],
                )
            )  # fmt: skip
    return NoteTagged(
        note_id=event.note_id, author_id=event.author_id, occurred_at=event.occurred_at, published_at=event.published_at, bundle=BUNDLE,
        category=event.category, tags=tags, language=event.language, tagger="truth",
    )  # fmt: skip
