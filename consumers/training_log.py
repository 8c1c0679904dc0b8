"""Interactions become training examples: each with its reader's profile as it was just before, read once per reader and batch.

The records are only read: what is stored is the same with logging and without. An example is made from the very record that the write of
its event was decided against. When that write is refused, because somebody else wrote first, the event is handled and logged again from
the record as it is then, under the same coordinates; so of several copies of one interaction the one published last is right, and a crash
between publishing and storing leaves only such copies. What was applied before is never logged again.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence, Set

import xxhash
from msgspec.structs import replace

from models.profile import Rules, rules_of, scores_at, unpack_tags
from models.profile_batch import Actions, ProfileBatch
from models.profile_before import history_before, profile_before
from models.profile_update import Known, Walk, waiting_in
from recall.stores import Held, Notes, NoteTags, Profiles
from schemas.events import Interaction, Tag, TrainingExample
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import NoteRecord, ProfileRecord
from schemas.writes import Publish, PutProfile, Write

EXAMPLES_PER_BATCH = 5_000
READERS_AT_ONCE = 500

Sampled = dict[int, Interaction]
"""Events by offset, rising."""
Wanted = Callable[[Interaction], bool]


class LoggedBatch(ProfileBatch):
    """A batch that also keeps the events to be logged, by place and reader."""

    def __init__(self, rules: Rules, known: Container[str], wanted: Wanted) -> None:
        super().__init__(rules, known)
        self._wanted = wanted
        self.sampled: dict[str, dict[str, Sampled]] = {}

    def add(self, chunk: Sequence[Received[Interaction]]) -> None:
        super().add(chunk)
        for received in chunk:
            if self._wanted(received.event):
                readers = self.sampled.setdefault(f"{received.source}/{received.partition}", {})
                readers.setdefault(received.event.user_id, {}).setdefault(received.offset, received.event)

    def drop(self, partitions: set[int]) -> None:
        super().drop(partitions)
        self.sampled = {place: readers for place, readers in self.sampled.items() if int(place.rpartition("/")[2]) not in partitions}

    def again(self, conflicts: Sequence[PutProfile]) -> ProfileBatch:
        part = super().again(conflicts)
        assert isinstance(part, LoggedBatch)
        user_ids = {put.user_id for put in conflicts}
        for place, readers in self.sampled.items():
            part.sampled[place] = {user_id: events for user_id, events in readers.items() if user_id in user_ids}
        return part

    def _empty(self) -> ProfileBatch:
        return LoggedBatch(self._rules, self._known, self._wanted)


class TrainingLog:
    """Makes training examples of a sample of the interactions.

    Args:
        notes: where the tags of the notes acted on are read, with their event times.
        topic: the name within the namespace.
        bundle: whose records ``profiles`` are.
    """

    def __init__(self, profiles: Profiles, tags: NoteTags, notes: Notes, settings: Settings, *, topic: str, bundle: str = "") -> None:
        self._profiles = profiles
        self._tags = tags
        self._notes = notes
        self._settings = replace(settings, profile_max_tags=settings.training_examples_tags)
        self._rules = rules_of(settings)
        self._topic = topic
        self._bundle = bundle

    @property
    def batch_max(self) -> int:
        """Events that a batch may have so that its examples fit well into memory."""
        return int(EXAMPLES_PER_BATCH / max(self._settings.training_examples_rate, self._settings.training_examples_impressions))

    def gather(self, known: Container[str]) -> LoggedBatch:
        """What a batch is gathered in that is to be logged."""
        return LoggedBatch(self._rules, known, wanted_by(self._settings))

    def examples(self, batch: LoggedBatch, known: Known, writes: Sequence[Write]) -> list[Publish]:
        """The examples of a batch.

        Args:
            known: what the batch was applied with.
            writes: what was decided for it.

        Raises:
            Transient: when Redis does not answer.
        """
        versions = {write.user_id: write.version for write in writes if isinstance(write, PutProfile)}
        readers = list(dict.fromkeys(user_id for sampled in batch.sampled.values() for user_id in sampled))
        targets = {event.note_id for sampled in batch.sampled.values() for events in sampled.values() for event in events.values()}
        notes = self._notes.get(list(targets)) if targets else {}
        made: list[Publish] = []
        for start in range(0, len(readers), READERS_AT_ONCE):
            held = self._profiles.read(readers[start : start + READERS_AT_ONCE])
            tags = self._with_waiting(known, held)
            for user_id, (version, record) in held.items():
                if versions.get(user_id, version) != version:
                    continue  # somebody wrote since, so our write will be refused and the events come again
                walk = Walk(record, tags, self._rules)
                for place in batch.sampled:
                    for offset, event in _stops(walk, record, place, batch, user_id):
                        made.append(Publish(self._topic, user_id, self._example(walk, place, offset, event, notes.get(event.note_id))))
        return made

    def _with_waiting(self, known: Known, held: Mapping[str, Held]) -> Known:
        """With the tags of notes that the readers' actions wait for."""
        waiting: Set[str] = set().union(*(waiting_in(record) for _, record in held.values())) - known.tags.keys()
        return replace(known, tags={**known.tags, **self._tags.packed(list(waiting))}) if waiting else known

    def _example(self, walk: Walk, place: str, offset: int, event: Interaction, note: NoteRecord | None) -> TrainingExample:
        def tags_of(note_id: str) -> list[Tag]:
            texts = unpack_tags(walk.known.tags[note_id]) if note_id in walk.known.tags else ()
            return [Tag(text=text, dimension="", rank=rank, confidence=1.0) for rank, text in enumerate(texts, 1)]

        at, settings = event.occurred_at, self._settings
        profile = profile_before(walk.profile, event.note_id, at)
        history = history_before(profile, at, self._rules, settings.training_examples_history)
        scores = scores_at(profile, at, settings, tags_of) if settings.training_examples_tags else {}
        tagged = note is not None and not note.deleted and note.occurred_at <= at
        source, _, partition = place.rpartition("/")
        return TrainingExample(
            event_id=event.event_id,
            user_id=event.user_id,
            note_id=event.note_id,
            action=event.action,
            occurred_at=at,
            channel=event.channel,
            experiment=event.experiment,
            dwell_ms=event.dwell_ms,
            request_id=event.request_id,
            source=source,
            partition=int(partition),
            offset=offset,
            bundle=self._bundle,
            history_notes=[one.note_id for one in history],
            history_weights=[one.weight for one in history],
            history_at=[one.at for one in history],
            profile_tags=list(scores),
            profile_scores=list(scores.values()),
            tags=[tag.text for tag in note.tags] if note is not None and tagged else None,
            tags_at=note.occurred_at if note is not None and tagged else None,
        )


def _stops(walk: Walk, record: ProfileRecord, place: str, batch: LoggedBatch, user_id: str) -> Iterator[tuple[int, Interaction]]:
    """Walks a reader's actions from one place and stops before each event that is to be logged. One sent again from the dead letters was
    logged when it came first."""
    actions: Actions = batch.places.get(place, {}).get(user_id, [])
    steps = iter(zip(actions[::3], actions[1::3], actions[2::3], strict=True))
    step, mark = next(steps, None), record.head.applied.get(place, -1)
    for offset, event in sorted(batch.sampled[place].get(user_id, {}).items()):
        while step is not None and step[0] < offset:
            if step[0] > mark:
                mark = step[0]
                walk.step(place, *step)
            step = next(steps, None)
        sent_again = (place, offset) in walk.known.redriven
        if offset > mark and not sent_again and xxhash.xxh3_64_digest(event.event_id.encode()) not in walk.seen:
            yield offset, event


def wanted_by(settings: Settings) -> Wanted:
    """Whether an event is logged: by hash of its id, so that a replay samples the same events."""
    actions, impressions = (int(share * 2**64) for share in (settings.training_examples_rate, settings.training_examples_impressions))
    hash_of = xxhash.xxh3_64_intdigest

    def wanted(event: Interaction) -> bool:
        return hash_of(event.event_id.encode()) < (impressions if event.action == "impression" else actions)

    return wanted
