"""Memory: what one profile of 50 tags takes in Redis, and whether the profile consumer's resident memory stays flat.

The profile is of one reader who clicked 10 notes of 8 tags, 50 different ones together, two of which they liked: as Redis counts it (MEMORY
USAGE, all of it), once settled and once with all actions still in the tail. The consumer reads 2,000,000 events of the log of
``profile_log`` in its own process. In the first million all readers begin at nothing together, which no service does: how much memory
stays flat is judged by the second, its resident memory read after the batches that end at 10 % or next to it, 50 % and 100 %.
"""

from benchmarks.interactions_to_profiles import consume
from benchmarks.profile_log import BUNDLE, START_MS, Shape, published_log
from benchmarks.report import Row
from models.profile import pack_tags, rules_of, scores_at
from models.profile_batch import ProfileBatch, pack_notes
from models.profile_update import Known, apply_actions, open_profile
from recall.profiles import RedisProfiles
from recall.redis_client import redis_client
from schemas.codec import encode
from schemas.events import Action, Interaction, Tag
from schemas.keys import Keys
from schemas.records import Received
from schemas.settings import Settings
from schemas.stored import ProfileHead, ProfileRecord
from schemas.topics import source_id
from schemas.writes import PutProfile
from streams.memory import MemoryMessage

TAGS = 50
NOTES = 10


def run() -> list[Row]:
    """Bytes per profile, and the consumer's growth."""
    shape = Shape(events=2 * Shape().events)
    with published_log(shape) as settings:
        settled = bytes_of_profile(settings, "settled", settle_at=NOTES)
        appended = bytes_of_profile(settings, "appended", settle_at=64)
        resident = consume("ours", settings, shape.events)["rss_mb"]
    half = len(resident) // 2
    early, late = resident[:half], resident[half:]
    growth = 100.0 * (late[-1] - late[0]) / late[0]
    return [
        Row(what="profile of 50 tags in Redis, settled", unit="bytes", ours=settled, note=f"{NOTES} notes of 8 tags, two liked"),
        Row(what="profile of 50 tags in Redis, all actions in the tail", unit="bytes", ours=appended),
        Row(
            what="profile consumer, growth of resident memory over 1,000,000 events after the first 1,000,000",
            unit="%",
            ours=growth,
            at_most=10.0,
            note=f"MB after each batch: {_listed(early)}; second million: {_listed(late)}",
        ),
    ]


def _listed(sizes: list[float]) -> str:
    return " ".join(f"{size:.0f}" for size in sizes)


def bytes_of_profile(settings: Settings, user_id: str, settle_at: int) -> float:
    """MEMORY USAGE of one reader's key."""
    actions: list[tuple[int, Action]] = [*((note, "click") for note in range(NOTES)), (0, "like"), (1, "like")]
    tags = {f"note-{note}": tags_of_note(note) for note in range(NOTES)}
    record, rules = ProfileRecord(ProfileHead(settle_at=settle_at)), rules_of(settings)
    batch = ProfileBatch(rules)
    batch.add([received(user_id, note, action, offset) for offset, (note, action) in enumerate(actions)])
    packed = {note_id: pack_tags(of_note) for note_id, of_note in tags.items()}
    known = Known(packed, pack_notes(batch.notes, packed), batch.originals)
    for place, readers in batch.places.items():
        apply_actions(record, place, readers[user_id], known, rules)
    scores = scores_at(open_profile(record, settings), START_MS, settings, tags.get)
    assert len(scores) == TAGS, len(scores)
    client, keys = redis_client(settings), Keys(settings.namespace, BUNDLE)
    assert not RedisProfiles(client, keys).write([PutProfile(user_id, b"", record)])
    return float(client.memory_usage(keys.profile(user_id), samples=0) or 0)


def tags_of_note(note: int) -> list[Tag]:
    texts = [f"fine grained tag {(8 * note + place) % TAGS + 1}" for place in range(8)]
    return [Tag(text=text, dimension="style", rank=rank, confidence=0.9) for rank, text in enumerate(texts, 1)]


def received(user_id: str, note: int, action: Action, offset: int) -> Received[Interaction]:
    event = Interaction(event_id=f"event-{offset}", user_id=user_id, note_id=f"note-{note}", action=action, occurred_at=START_MS + offset)
    message = MemoryMessage(topic="interactions", partition=0, offset=offset, value=encode(event))
    return Received(event, source_id("interactions", "AAAAAAAAAAAAAAAAAAAAAA"), 0, offset, message)
