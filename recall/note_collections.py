"""The Milvus collections of the spaces: what they are made of, and making them so that several processes may start at once.

A space has two, ``[namespace_]SPACE_vectors_BUNDLE`` and ``[namespace_]fresh_SPACE_vectors_BUNDLE``; each stands behind an alias of its own
name without the bundle; a bundle version's collections are switched to by moving the aliases.
"""

from typing import Any

from msgspec import Struct

from schemas.errors import BundleMismatch, Transient
from schemas.keys import collection
from schemas.writes import TAG_SPACE

MAIN = "main"
FRESH = "fresh"
KINDS = (MAIN, FRESH)
INDEX: dict[str, dict[str, Any]] = {
    MAIN: {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 200}},
    FRESH: {"index_type": "FLAT", "metric_type": "IP", "params": {}},
}
WRITE_TIMEOUT_S = 10.0
CREATE_TIMEOUT_S = 60.0


class Place(Struct, frozen=True):
    """Where the vectors of a space are: one of its two collections. ``bundle`` "": what the alias points to."""

    namespace: str
    space: str = TAG_SPACE
    kind: str = MAIN
    bundle: str = ""

    @property
    def name(self) -> str:
        """The collection's name."""
        return collection(self.namespace, self._stem, self.bundle)

    @property
    def alias(self) -> str:
        """The alias over the bundles' collections."""
        return collection(self.namespace, self._stem)

    @property
    def _stem(self) -> str:
        return f"{'fresh_' if self.kind == FRESH else ''}{self.space}_vectors"


def owner(namespace: str) -> str:
    """What a collection's description says of whose it is: names alone cannot tell space ``b_tag`` of ``a`` from ``tag`` of ``a_b``."""
    return f"namespace {namespace or '-'};"


def make_ready(client: Any, place: Place, dimension: int) -> None:
    """Makes what is absent of a collection, its index and its alias, and loads it; a maker that died half-way is completed.

    Raises:
        BundleMismatch: when the collection holds vectors of another dimension.
    """
    name = place.name
    if not place.bundle:
        raise ValueError(f"{name} is an alias; a bundle version is needed to create collections")
    if not client.has_collection(name, timeout=WRITE_TIMEOUT_S):
        _create_collection(client, place, dimension)
    held = dimension_of(client, name)
    if held != dimension:
        maker = "the tag encoder" if place.space == TAG_SPACE else f"space {place.space}"
        raise BundleMismatch(f"dimension: collection {name} holds vectors of {held}, {maker} gives {dimension}")
    if not client.list_indexes(name, field_name="vector", timeout=WRITE_TIMEOUT_S):
        _create_index(client, name, place.kind)
    client.load_collection(name, timeout=CREATE_TIMEOUT_S)
    point_alias(client, place, move=False)


def dimension_of(client: Any, name: str) -> int:
    """Dimension of a collection's (or alias's) vectors."""
    fields = client.describe_collection(name, timeout=WRITE_TIMEOUT_S)["fields"]
    return next(int(field["params"]["dim"]) for field in fields if field["name"] == "vector")


def point_alias(client: Any, place: Place, *, move: bool) -> None:
    """Creates the alias where there is none; one that points elsewhere is moved only if asked."""
    from pymilvus.exceptions import MilvusException

    name, alias = place.name, place.alias

    try:
        client.create_alias(name, alias, timeout=WRITE_TIMEOUT_S)
    except MilvusException as error:
        held = _alias_target(client, alias)
        if held is None:
            raise Transient("milvus", f"alias {alias} cannot be created: {error.message}") from error
        if held != name and move:
            client.alter_alias(name, alias, timeout=WRITE_TIMEOUT_S)


def _create_collection(client: Any, place: Place, dimension: int) -> None:
    from pymilvus import DataType
    from pymilvus.exceptions import MilvusException

    name = place.name
    description = f"{owner(place.namespace)} space {place.space}, bundle {place.bundle}"
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("pk", DataType.VARCHAR, max_length=32, is_primary=True)
    schema.add_field("note_id", DataType.VARCHAR, max_length=256)
    schema.add_field("author_id", DataType.VARCHAR, max_length=256)
    schema.add_field("category", DataType.VARCHAR, max_length=32)
    schema.add_field("published_at", DataType.INT64)
    schema.add_field("occurred_at", DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    try:
        client.create_collection(name, schema=schema, num_shards=1, consistency_level="Bounded", timeout=CREATE_TIMEOUT_S)
    except MilvusException:
        if not client.has_collection(name, timeout=WRITE_TIMEOUT_S):  # somebody else made it at the same time
            raise


def _create_index(client: Any, name: str, kind: str) -> None:
    from pymilvus.exceptions import MilvusException

    index = client.prepare_index_params()
    index.add_index("vector", **INDEX[kind])
    try:
        client.create_index(name, index, timeout=CREATE_TIMEOUT_S)
    except MilvusException:
        if not client.list_indexes(name, field_name="vector", timeout=WRITE_TIMEOUT_S):
            raise


def _alias_target(client: Any, alias: str) -> str | None:
    from pymilvus.exceptions import MilvusException

    try:
        return str(client.describe_alias(alias, timeout=WRITE_TIMEOUT_S)["collection_name"])
    except MilvusException:
        return None
