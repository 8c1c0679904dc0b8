"""The Milvus collections of tag vectors: what they are made of, and making them so that several processes may start at once.

Each kind stands behind an alias of its own name; a bundle version's collections are switched to by moving the aliases.
"""

from typing import Any

from schemas.errors import BundleMismatch, Transient

MAIN = "tag_vectors"
FRESH = "fresh_tag_vectors"
INDEX: dict[str, dict[str, Any]] = {
    MAIN: {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 200}},
    FRESH: {"index_type": "FLAT", "metric_type": "IP", "params": {}},
}
WRITE_TIMEOUT_S = 10.0
CREATE_TIMEOUT_S = 60.0


def make_ready(client: Any, kind: str, name: str, alias: str, dimension: int) -> None:
    """Makes what is absent of a collection, its index and its alias, and loads it; a maker that died half-way is completed.

    Raises:
        BundleMismatch: when the collection holds vectors of another dimension.
    """
    if name == alias:
        raise ValueError(f"{name} is an alias; a bundle version is needed to create collections")
    if not client.has_collection(name, timeout=WRITE_TIMEOUT_S):
        _create_collection(client, name, dimension)
    held = dimension_of(client, name)
    if held != dimension:
        raise BundleMismatch(f"collection {name} holds vectors of dimension {held}, the tag encoder gives {dimension}")
    if not client.list_indexes(name, field_name="vector", timeout=WRITE_TIMEOUT_S):
        _create_index(client, name, kind)
    client.load_collection(name, timeout=CREATE_TIMEOUT_S)
    point_alias(client, alias, name, move=False)


def dimension_of(client: Any, name: str) -> int:
    """Dimension of a collection's (or alias's) vectors."""
    fields = client.describe_collection(name, timeout=WRITE_TIMEOUT_S)["fields"]
    return next(int(field["params"]["dim"]) for field in fields if field["name"] == "vector")


def point_alias(client: Any, alias: str, name: str, *, move: bool) -> None:
    """Creates the alias where there is none; one that points elsewhere is moved only if asked."""
    from pymilvus.exceptions import MilvusException

    try:
        client.create_alias(name, alias, timeout=WRITE_TIMEOUT_S)
    except MilvusException as error:
        held = _alias_target(client, alias)
        if held is None:
            raise Transient("milvus", f"alias {alias} cannot be created: {error.message}") from error
        if held != name and move:
            client.alter_alias(name, alias, timeout=WRITE_TIMEOUT_S)


def _create_collection(client: Any, name: str, dimension: int) -> None:
    from pymilvus import DataType
    from pymilvus.exceptions import MilvusException

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
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
