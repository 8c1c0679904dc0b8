"""Canary notes: what the pipeline publishes to itself to see whether a note still becomes recallable in time (``consumers/canary.py``).

They travel like any note, but no reader is shown one and no list holds one: neither a tag's nor a category's, so they count in no document
frequency. Publishers refuse the prefix in events of others.
"""

CANARY_PREFIX = "tagstream-canary-"
CANARY_READER = f"{CANARY_PREFIX}reader"
"""The one reader whose recall may return canaries."""


def is_canary(note_id: str) -> bool:
    """Whether a note is a canary, by its id."""
    return note_id.startswith(CANARY_PREFIX)
