"""What a process does about garbage collection once it has loaded everything and begins to answer."""

import gc

YOUNG = 25_000
"""New objects between two looks at the youngest: an answer makes some thousands, nearly all of which are gone with it."""


def settle() -> None:
    """Takes what is loaded out of all later collections, which would walk all of it in the middle of a request, and makes those rare: the
    default of 700 objects had several in every answer, an eighth of its processor time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
