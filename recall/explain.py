"""Why a note was recalled: which tags of the reader's profile met which tags of the note, and the actions behind the former.

A reason's score is the profile score times the cosine of the two tags, so an equal text (cosine 1) counts with its full profile score.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct, field

from models.profile import ActionRef
from models.roles import TagEncoder
from recall.merge import DECIMALS

REASONS_MAX = 5
ACTIONS_MAX = 5
COSINE_MIN = 0.5
COSINE_NONE = 0.01


class Reason(Struct, frozen=True):
    """A tag of the profile that met a tag of the note. ``similarity``: cosine of the two, 1 for the same text."""

    profile_tag: str
    note_tag: str
    score: float
    similarity: float = 1.0
    actions: list[ActionRef] = field(default_factory=list)


class Similarity:
    """Nearest profile tags for the note tags of one query: each distinct text is encoded once, all in one call."""

    def __init__(self, encoder: TagEncoder, liked: Mapping[str, float], note_tags: Sequence[str]) -> None:
        texts = list(dict.fromkeys([*liked, *note_tags]))
        vectors = encoder.encode(texts)
        row = {text: number for number, text in enumerate(texts)}
        self._liked = list(liked)
        self._column = {text: number for number, text in enumerate(dict.fromkeys(note_tags))}
        of_profile, of_notes = (vectors[[row[text] for text in side]] for side in (self._liked, self._column))
        self._cosines = np.einsum("ik,jk->ij", of_profile, of_notes)  # too small for the threads that a BLAS product would start
        self._values = self._cosines * np.array(list(liked.values()))[:, None]

    def nearest(self, note_tag: str) -> Reason | None:
        """The profile tag that adds most to ``note_tag``, among those of cosine .5 and above if there are any; None if all are about 0."""
        column = self._column[note_tag]
        cosines, values = self._cosines[:, column], self._values[:, column]
        close = cosines >= COSINE_MIN
        best = int(np.argmax(np.where(close, values, -np.inf) if close.any() else values))
        if not cosines[best] > COSINE_NONE:
            return None
        return Reason(self._liked[best], note_tag, round(float(values[best]), DECIMALS), round(min(float(cosines[best]), 1.0), 4))


def explain(
    note_tags: Sequence[str], liked: Mapping[str, float], actions: Mapping[str, Sequence[ActionRef]], similarity: Similarity | None = None
) -> list[Reason]:
    """The reasons for one note, strongest first, at most five, one per note tag.

    Args:
        note_tags: the note's tags.
        liked: profile tags with positive scores.
        actions: the reader's actions behind each profile tag; the first five are given.
        similarity: for a note that the embedding channel proposed; None counts only equal texts. Pairs below cosine .5 are no reason,
            unless the note has no other: then its strongest pair is named.
    """
    exact = [Reason(text, text, liked[text]) for text in note_tags if text in liked]
    near = [] if similarity is None else [similarity.nearest(text) for text in note_tags if text not in liked]
    pairs = sorted((reason for reason in near if reason is not None), key=_order)
    chosen = [*exact, *(reason for reason in pairs if reason.similarity >= COSINE_MIN)] or pairs[:1]
    return [
        Reason(one.profile_tag, one.note_tag, one.score, one.similarity, list(actions.get(one.profile_tag, ())[:ACTIONS_MAX]))
        for one in sorted(chosen, key=_order)[:REASONS_MAX]
    ]


def _order(reason: Reason) -> tuple[float, float, str, str]:
    return (-reason.score, -reason.similarity, reason.note_tag, reason.profile_tag)
