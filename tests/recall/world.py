"""A small world on the in-memory twins: notes, readers, and the real profile arithmetic between them."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from consumers.update_profiles import UpdateProfiles
from models.pooling import note_vector
from models.roles import Space
from recall.memory_notes import MemoryNotes
from recall.note_index import MemoryNoteIndex
from recall.note_tags import StoredNoteTags
from recall.profiles import MemoryProfiles
from recall.query import Query, Recalled, RecallStores, recall
from schemas.codec import encode
from schemas.events import Interaction, Tag
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import NoteRecord
from schemas.writes import TAG_SPACE, PutNote, PutProfile, PutVector
from streams.memory import MemoryMessage

NOW = 1_790_000_000_000
HOUR = 3_600_000
DIMENSION = 64


class WordEncoder:
    """A text is the sum of its words' random directions: texts that share words are similar, others are not."""

    dimension = DIMENSION
    version = "words"

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        rows = [sum((self._word(word) for word in text.split()), np.zeros(DIMENSION)) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)

    @staticmethod
    def _word(word: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIMENSION)


class World:
    """Stores of one bundle with the encoder; time stands at ``NOW``. On the in-memory twins unless ``stores`` are given."""

    def __init__(
        self, stores: RecallStores | None = None, spaces: Sequence[Space] = (), weights: Mapping[str, float] | None = None
    ) -> None:
        self.encoder = WordEncoder()
        self.settings = stores.settings if stores else Settings()
        self.notes = stores.notes if stores else MemoryNotes()
        self.profiles = stores.profiles if stores else MemoryProfiles()
        self.index = (
            stores.index if stores else MemoryNoteIndex(DIMENSION, clock=lambda: NOW, spaces={one.name: one.dimension for one in spaces})
        )
        self.spaces = {space.name: space for space in spaces}
        self.weights = weights or {}
        self.offset = 0

    @property
    def stores(self) -> RecallStores:
        return RecallStores(self.profiles, self.notes, self.index, self.settings, "b1", self.spaces, self.weights)

    def note(self, note_id: str, *tags: str, author: str = "author", age_h: float = 1, fingerprint: str = "", **changes) -> NoteRecord:
        """Stores a tagged note with its vector."""
        at = NOW - round(age_h * HOUR)
        record = NoteRecord(
            note_id=note_id,
            author_id=author,
            occurred_at=changes.pop("occurred_at", at),
            deleted=changes.pop("deleted", False),
            revision=0,
            digest=repr((tags, changes)).encode(),
            published_at=at,
            category=changes.pop("category", None),
            tags=[Tag(text=text, dimension="d", rank=rank, confidence=0.9) for rank, text in enumerate(tags, start=1)],
            fingerprint=fingerprint,
            tagger="test",
            degraded=[],
            stages={},
        )
        assert not changes
        assert not self.notes.put([PutNote(record)])
        if tags:
            vector = note_vector(self.encoder.encode(tags), [0.9] * len(tags), range(1, len(tags) + 1))
            vectors = {TAG_SPACE: vector} | {name: space.notes([tags], [[0.9] * len(tags)])[0] for name, space in self.spaces.items()}
            self.index.upsert(
                [PutVector(note_id, author, record.category, at, record.occurred_at, of, space) for space, of in vectors.items()]
            )
        return record

    def act(self, user_id: str, action: str, note_id: str, age_h: float = 1) -> None:
        """An interaction arrives and is applied."""
        event = Interaction(
            event_id=f"e{self.offset}", user_id=user_id, note_id=note_id, action=action, occurred_at=NOW - round(age_h * HOUR)
        )
        message = MemoryMessage(topic="interactions", partition=0, offset=self.offset, value=encode(event))
        writes = UpdateProfiles(self.profiles, StoredNoteTags(self.notes), self.settings).handle(
            [Received(event, "t@1", 0, self.offset, message)]
        )
        assert not self.profiles.write([write for write in writes if isinstance(write, PutProfile)])
        self.offset += 1

    def recall(self, user_id: str, **asked) -> Recalled:
        return recall(Query(user_id=user_id, **({"as_of": NOW} | asked)), self.stores, self.encoder)
