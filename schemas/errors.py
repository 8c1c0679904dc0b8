"""The exception tree. What the engine does with each is fixed here and in ``streams/engine.py``.

TagStreamError
├── InvalidEvent         the bytes are not a valid event: dead letter, never retried
├── PoisonBatch          a batch cannot be handled: bisect, the single culprit goes to the dead letters
├── Transient            a dependency is down: pause, keep polling, back off, resume; nothing is lost
├── DeadLettersExhausted dead letters cannot be produced, or too many in a row: stop without committing
├── InvalidMedia         an image or video cannot be decoded: the note is tagged from what remains
│   └── MediaTooLarge    ... or holds more than is allowed
├── BadSetting           a setting is wrong: name it and the fix, exit 1
├── MissingPrerequisite  the machine lacks something: one sentence with the remedy, exit 1
├── BundleMismatch       two parts of a bundle disagree: name both, exit 1
└── RolloutRefused       a bundle may not go live: say what stands against it, exit 1
"""


class TagStreamError(Exception):
    """Everything this project raises on purpose; the command line prints it as one line and exits 1."""


class InvalidEvent(TagStreamError):
    """Bytes that are not a valid event. ``field`` is a JSON path (``$.products[0].name``)."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class PoisonBatch(TagStreamError):
    """A model or store refuses a batch because of some item in it; retrying the same batch cannot help."""


class Transient(TagStreamError):
    """A dependency does not answer now. ``dependency`` is ``kafka``, ``redis``, ``milvus`` or a model's name."""

    def __init__(self, dependency: str, detail: str) -> None:
        super().__init__(f"{dependency} is not available: {detail}")
        self.dependency = dependency


class DeadLettersExhausted(TagStreamError):
    """The dead-letter topic does not take records, or the limit of dead letters in a row is reached."""


class InvalidMedia(TagStreamError):
    """A medium that cannot be decoded; the message says what it is instead. Its note is tagged without it."""


class MediaTooLarge(InvalidMedia):
    """A medium that holds more than is allowed. ``what`` is ``pixels``, ``frames`` or ``duration``."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(detail)
        self.what = what


class BadSetting(TagStreamError):
    """A setting has a value that cannot be used."""


class MissingPrerequisite(TagStreamError):
    """Something the machine must have is absent; the message says what and how to get it."""


class BundleMismatch(TagStreamError):
    """Parts that must belong to one bundle version do not."""


class RolloutRefused(TagStreamError):
    """A bundle may not go live, come back or be dropped as things stand."""
