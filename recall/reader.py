"""A reader as a query sees one: scores at a moment, what was acted on, and the records of notes, each read once per query."""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from msgspec import Struct

from models.profile import acted_on, scores_at, waiting_notes
from models.profile_update import open_profile
from recall.stores import Glance, Notes, Profiles
from schemas.events import Tag
from schemas.settings import Settings
from schemas.stored import Profile

SCORE_MIN = 1e-9
RECENT_NOTES = 256


class KnownNotes:
    """Note records during one query: what was read once, found or not, is not read again."""

    def __init__(self, notes: Notes) -> None:
        self.store = notes
        self._read: dict[str, Glance | None] = {}

    def get(self, note_ids: Iterable[str]) -> dict[str, Glance]:
        """Records of the known notes among ``note_ids``, in their order; deleted ones included.

        Raises:
            Transient: when the store does not answer.
        """
        wanted = list(dict.fromkeys(note_ids))
        missing = [note_id for note_id in wanted if note_id not in self._read]
        if missing:
            found = self.store.glance(missing)
            self._read.update((note_id, found.get(note_id)) for note_id in missing)
        return {note_id: record for note_id in wanted if (record := self._read[note_id]) is not None}

    def tags_of(self, note_id: str) -> Sequence[Tag] | None:
        """A note's tags; None while nothing is known of the note."""
        record = self.get([note_id]).get(note_id)
        return None if record is None else record.tags


class Reader(Struct, frozen=True):
    """A reader at a moment. ``scores``: profile tags, highest first; ``liked``: those above zero; ``pending``: how many actions wait for
    tags."""

    user_id: str
    profile: Profile
    scores: dict[str, float]
    liked: dict[str, float]
    pending: int
    acted_on: Collection[str]

    @property
    def recent_notes(self) -> list[str]:
        """The notes acted on last, newest first, at most 256."""
        return list(islice((note_id for note_id in reversed(self.profile.notes) if note_id in self.acted_on), RECENT_NOTES))

    def top(self, count: int) -> dict[str, float]:
        """The ``count`` highest scored of the liked tags."""
        return dict(islice(self.liked.items(), count))


def read_reader(user_id: str, as_of: int, profiles: Profiles, notes: KnownNotes, settings: Settings) -> Reader:
    """Reads a profile as it stands at ``as_of``: waiting actions count as soon as their note has tags, written back or not.

    Raises:
        Transient: when Redis does not answer.
    """
    profile = open_profile(profiles.read([user_id])[user_id].record, settings)
    notes.get(waiting_notes(profile))
    scores = scores_at(profile, as_of, settings, notes.tags_of)
    return Reader(
        user_id=user_id,
        profile=profile,
        scores=scores,
        liked={text: score for text, score in scores.items() if score > SCORE_MIN},
        pending=sum(notes.tags_of(action.note_id) is None for action in profile.pending),
        acted_on=acted_on(profile, settings.recall_filter_impressions),
    )


class TagScore(Struct, frozen=True):
    """A profile tag with its score."""

    text: str
    score: float


class ProfileView(Struct, frozen=True):
    """A profile as it is shown; ``tags`` highest first."""

    user_id: str
    as_of: int
    actions: int
    pending: int
    tags: list[TagScore]


def view_profile(reader: Reader, as_of: int, k: int) -> ProfileView:
    """The ``k`` highest scored tags of a reader."""
    tags = [TagScore(text, score) for text, score in islice(reader.scores.items(), k)]
    return ProfileView(reader.user_id, as_of, reader.profile.actions, reader.pending, tags)
