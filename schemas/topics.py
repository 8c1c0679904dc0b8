"""Topics by name, with what they are created with. A namespace setting prefixes every name, so several systems share one cluster."""

from msgspec import Struct

from schemas.events import EVENT_MAX_BYTES, DeadLetterMark, Event, Interaction, NoteEvent, NoteTagged, TrainingExample

DAY_MS = 86_400_000


class Topic(Struct, frozen=True):
    """One topic. ``retention_ms`` -1 keeps for ever; ``cleanup`` is Kafka's cleanup.policy; ``event`` None: none of the events."""

    name: str
    partitions: int
    retention_ms: int
    cleanup: str
    event: type[Event] | None = None
    max_message_bytes: int = EVENT_MAX_BYTES + 65_536

    @property
    def dead_letters(self) -> str:
        """Name of the topic that takes what could not be processed."""
        return f"{self.name}-dead-letters"

    @property
    def dead_letter_topic(self) -> "Topic":
        """That topic."""
        return Topic(self.dead_letters, 1, -1, "delete", None, self.max_message_bytes + 65_536)

    def within(self, namespace: str) -> "Topic":
        """The same topic under a namespace; the empty namespace changes nothing."""
        name = f"{namespace}.{self.name}" if namespace else self.name
        return Topic(name, self.partitions, self.retention_ms, self.cleanup, self.event, self.max_message_bytes)


NOTE_EVENTS = Topic("note-events", 6, -1, "delete", NoteEvent)
NOTE_TAGGED = Topic("note-tagged", 6, -1, "delete", NoteTagged)
INTERACTIONS = Topic("interactions", 6, 30 * DAY_MS, "delete", Interaction)
TRAINING_EXAMPLES = Topic("training-examples", 6, 90 * DAY_MS, "delete", TrainingExample)
DEAD_LETTER_MARKS = Topic("dead-letter-marks", 1, -1, "compact", DeadLetterMark)
SOURCES = (NOTE_EVENTS, NOTE_TAGGED, INTERACTIONS)
LOGS = (TRAINING_EXAMPLES, DEAD_LETTER_MARKS)
"""Topics that no job consumes, so that nothing of them can become a dead letter."""
METRICS = Topic("metrics", 1, -1, "compact")
METRICS_BY_NOTE = Topic("metrics-by-note", 6, 7 * DAY_MS, "delete")
METRICS_TABLES = ("readers", "notes", "tags")
"""Tables of the metrics job; the changelog of each is the topic ``tagstream-metrics-TABLE-changelog``."""
OWN = (METRICS, METRICS_BY_NOTE, *(Topic(f"tagstream-metrics-{table}-changelog", 6, -1, "compact") for table in METRICS_TABLES))
"""Topics of the metrics job: figures, compacted by cell; events by note; state. Their form is the job's own affair."""


def all_topics(namespace: str = "") -> list[Topic]:
    """Every topic the system uses: sources, logs, the metrics job's own, then the dead-letter topics of what jobs read."""
    sources = [topic.within(namespace) for topic in SOURCES]
    fed = [*sources, METRICS_BY_NOTE.within(namespace)]
    return sources + [topic.within(namespace) for topic in LOGS + OWN] + [topic.dead_letter_topic for topic in fed]


def source_id(topic: str, topic_uuid: str) -> str:
    """Identity of a topic for watermarks: name and Kafka's topic id, so that a recreated topic starts afresh."""
    return f"{topic}@{topic_uuid}"
