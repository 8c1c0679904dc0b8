"""Removes everything a namespace left on the servers: what a demo or a trial makes for itself, it also takes away."""

from recall.milvus_client import milvus_client, milvus_errors
from recall.note_collections import KINDS, Place, owner
from recall.redis_client import redis_client, redis_errors
from schemas.errors import BadSetting
from schemas.settings import Settings
from streams.client import ASK_S, admin_client

ALREADY_GONE = {"UNKNOWN_TOPIC_OR_PART", "GROUP_ID_NOT_FOUND"}
SCAN = 5_000


def drop_namespace(settings: Settings) -> None:
    """Deletes the namespace's topics, consumer groups, Redis keys and Milvus collections.

    Raises:
        BadSetting: the namespace is empty, which would mean everything on servers that others may share.
        Transient: a server does not answer; what is left can be dropped again.
    """
    if not settings.namespace:
        raise BadSetting("TAGSTREAM_NAMESPACE is empty: only a named namespace can be dropped")
    _drop_topics_and_groups(settings)
    _drop_keys(settings)
    _drop_collections(settings)


def _drop_topics_and_groups(settings: Settings) -> None:
    from confluent_kafka import KafkaException

    admin = admin_client(settings)
    prefix = f"{settings.namespace}."
    groups = [group.group_id for group in admin.list_consumer_groups(request_timeout=ASK_S).result().valid]
    topics = list(admin.list_topics(timeout=ASK_S).topics)
    answers = []
    if ours := [name for name in topics if name.startswith(prefix)]:
        answers += admin.delete_topics(ours, operation_timeout=ASK_S).values()
    if ours := [name for name in groups if name.startswith(prefix)]:
        answers += admin.delete_consumer_groups(ours, request_timeout=ASK_S).values()
    for answer in answers:
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].name() not in ALREADY_GONE:
                raise


def _drop_keys(settings: Settings) -> None:
    client = redis_client(settings)
    with redis_errors():
        keys: list[bytes] = []
        for pattern in (f"*:{settings.namespace}:*", f"{settings.namespace}:*"):
            keys += client.scan_iter(match=pattern, count=SCAN)
        for start in range(0, len(keys), SCAN):
            with client.pipeline(transaction=False) as pipe:
                for key in keys[start : start + SCAN]:
                    pipe.unlink(key)
                pipe.execute()


def _drop_collections(settings: Settings) -> None:
    """Those of every space, told by their description; those of the tag space that have none also by name."""
    client = milvus_client(settings)
    start = Place(settings.namespace, "").name.removesuffix("_vectors")
    known = tuple(Place(settings.namespace, kind=kind).alias for kind in KINDS)
    try:
        with milvus_errors():
            for name in client.list_collections(timeout=ASK_S):
                if not name.startswith(start):
                    continue
                told = client.describe_collection(name, timeout=ASK_S).get("description", "")
                if told.startswith(owner(settings.namespace)) or (not told and name.startswith(known)):
                    for alias in client.list_aliases(name, timeout=ASK_S)["aliases"]:
                        client.drop_alias(alias, timeout=ASK_S)
                    client.drop_collection(name, timeout=ASK_S)
    finally:
        client.close()
