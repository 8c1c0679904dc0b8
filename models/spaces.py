"""Loads a learned space by the ``kind`` in its ``space.json``."""

from pathlib import Path

import msgspec
from msgspec import Struct

from models.roles import Space, TagEncoder
from schemas.errors import BundleMismatch


class SpaceKind(Struct, frozen=True):
    """What every ``space.json`` says."""

    name: str
    kind: str
    dimension: int
    encoder_version: str


def load_space(directory: Path, encoder: TagEncoder) -> Space:
    """The space of a directory.

    Args:
        encoder: the tag encoder that it was trained with.

    Raises:
        BundleMismatch: when the directory is no space of a kind known here, or was trained with another encoder.
    """
    try:
        card = msgspec.json.decode((directory / "space.json").read_bytes(), type=SpaceKind)
        if card.encoder_version != encoder.version:
            raise BundleMismatch(
                f"space {directory}: encoder_version: it was trained with tag encoder {card.encoder_version}, not with {encoder.version}; "
                "train it anew"
            )
        if card.kind == "two_tower":
            from models.two_tower_space import TwoTowerSpace

            return TwoTowerSpace(directory, encoder)
        if card.kind == "linear":
            from models.linear_space import LinearSpace

            return LinearSpace(directory, encoder)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise BundleMismatch(f"space {directory}: {error}") from error
    raise BundleMismatch(f"space {directory}: kind: {card.kind!r} is none of two_tower, linear")
