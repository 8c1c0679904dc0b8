"""The learned channels: a reader's history mapped into a space of the live bundle, and the notes that lie nearest there.

| channel | proposes | score |
|---|---|---|
| ``two_tower`` | notes of the highest inner product of item tower and user tower (paper section 4.6) | inner product |
| ``linear`` | notes of the highest inner product in the linear space: smoothed history matched on content | inner product |

A channel has the name of its space, and runs where the live bundle has that space; any further space of a bundle is a channel likewise.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Struct

from models.profile import history_at
from models.roles import ActedNote, Space
from recall.channels import CHANNELS, DEFAULT_CHANNELS, Channel, Context, Found, Search, search_by
from recall.merge import Blend
from recall.reader import KnownNotes, Reader
from schemas.errors import BadSetting
from schemas.settings import Settings

if TYPE_CHECKING:
    from recall.stores import Vector

LEARNED = ("two_tower", "linear")
"""The spaces whose training this project has, in the order of their channels."""


class ReaderVectors:
    """Where one reader stands in each space, computed when a channel first asks.

    Args:
        spaces: by name.
        reader: whose history it is.
        as_of: the moment asked about, epoch ms.
        settings: of the profile arithmetic.
        notes: tags of notes whose actions still wait for them.
    """

    def __init__(self, spaces: Mapping[str, Space], reader: Reader, as_of: int, settings: Settings, notes: KnownNotes) -> None:
        self._spaces = spaces
        self._reader = reader
        self._as_of = as_of
        self._settings = settings
        self._notes = notes
        self._vectors: dict[str, Vector | None] = {}

    @cached_property
    def history(self) -> list[ActedNote]:
        """What the reader acted on, as the learned spaces see it; the very function that training examples are logged by."""
        return history_at(self._reader.profile, self._as_of, self._settings, self._notes.tags_of)

    def of(self, space: str) -> "Vector | None":
        """The reader's vector, shape (dimension,); None where the history says nothing in this space, or the bundle lacks it."""
        if space not in self._vectors:
            self._vectors[space] = self._compute(space)
        return self._vectors[space]

    def _compute(self, space: str) -> "Vector | None":
        if space not in self._spaces or not self.history:
            return None
        vector: Vector = self._spaces[space].readers([self.history])[0]
        return vector if vector.any() else None


class Learned(Struct, frozen=True):
    """Nearest notes of one learned space."""

    name: str
    blend: Blend = Blend(resolution=1e-6)

    def ask(self, context: Context) -> Search:
        """See ``Nearest``."""
        return search_by(context.vectors.of(self.name) if context.vectors is not None else None, context, self.name)

    def candidates(self, context: Context) -> Found:
        """See ``Channel``."""
        return self.ask(context)()


def default_channels(spaces: Collection[str], weights: Mapping[str, float]) -> tuple[str, ...]:
    """Channels of a query that names none: the bundle's spaces first, then those without learning; where the bundle has merge weights,
    those it gives a weight, and ``fresh``, which fills up."""
    known = ordered(spaces)
    if weights:
        return tuple(name for name in (*known, *CHANNELS) if weights.get(name, 0.0) > 0.0 or name == "fresh")
    return (*known, *DEFAULT_CHANNELS)


def ordered(spaces: Collection[str]) -> list[str]:
    """Names of spaces in the order of their channels."""
    return [*(name for name in LEARNED if name in spaces), *sorted(set(spaces) - set(LEARNED))]


def choose(asked: Sequence[str] | None, spaces: Collection[str], weights: Mapping[str, float]) -> list[Channel]:
    """The channels of a query, each with its weight in the bundle's merge.

    Args:
        asked: by name; None for the default.
        spaces: names of the live bundle's spaces.
        weights: of the bundle's merge; a channel without one there keeps its own.

    Raises:
        BadSetting: a channel that is asked by name is none, or the live bundle lacks its space.
    """
    channels: dict[str, Channel] = {**CHANNELS, **{name: Learned(name) for name in spaces}}
    names = default_channels(spaces, weights) if asked is None else dict.fromkeys(asked)
    for name in names:
        if name not in channels:
            raise BadSetting(f"--channels: {name} is no channel of the live bundle; it has {', '.join((*ordered(spaces), *CHANNELS))}")
    return [_weighted(channels[name], weights.get(name, 0.0)) for name in names]


def _weighted(channel: Channel, weight: float) -> Channel:
    if not weight:
        return channel
    blend = msgspec.structs.replace(channel.blend, weight=weight)
    return cast(Channel, msgspec.structs.replace(cast(Any, channel), blend=blend))
