"""The one place that makes a Redis client from the settings: plain, TLS (``rediss://``) or cluster (``?cluster=true``)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from schemas.errors import BadSetting, Transient
from schemas.settings import Settings, redacted

READ_KEYS = 2_000

if TYPE_CHECKING:
    import redis

    Client = redis.Redis | redis.RedisCluster
else:
    Client = Any


def redis_client(settings: Settings) -> Client:
    """A client for ``settings.redis_url`` that returns bytes and waits at most ``recall_timeout_s`` for an answer.

    A plain client connects at its first command; a cluster client asks for the cluster's layout here.

    Raises:
        BadSetting: the URL cannot be read.
        Transient: no node of the cluster answers.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    url, cluster = _split(settings.redis_url)
    options: dict[str, Any] = {
        "socket_timeout": settings.recall_timeout_s,
        "socket_connect_timeout": settings.recall_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 30,
    }
    try:
        if cluster:
            with redis_errors():
                return redis.RedisCluster.from_url(url, **options)
        return redis.Redis.from_url(url, protocol=2, retry=Retry(NoBackoff(), 1), **options)
    except ValueError as error:
        raise BadSetting(f"TAGSTREAM_REDIS_URL: {redacted(settings.redis_url)}: {error}; give redis://host:port/0") from None


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turns "the server does not answer now" into ``Transient`` and a refused login into ``BadSetting``; a wrong command or script stays
    the error it is."""
    from redis import exceptions

    try:
        yield
    except exceptions.AuthenticationError as error:
        raise BadSetting(f"TAGSTREAM_REDIS_URL: the server refuses the login ({error}); give redis://user:password@host:port/0") from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.TryAgainError, exceptions.ClusterDownError) as error:
        raise Transient("redis", str(error) or type(error).__name__) from error
    except exceptions.RedisClusterException as error:
        if "cannot be connected" in str(error):
            raise Transient("redis", str(error)) from error
        raise
    except exceptions.ResponseError as error:
        if str(error).startswith(("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "OOM", "MISCONF", "NOREPLICAS")):
            raise Transient("redis", str(error)) from error
        raise


def read_values(client: Client, keys: Sequence[str]) -> list[bytes | None]:
    """Values of ``schemas.keys`` keys, in order; few commands, whatever the number of keys.

    Raises:
        Transient: when Redis does not answer.
    """
    calls, places = value_calls(client, keys)
    return in_places(places, read_all(client, calls), len(keys))


def value_calls(client: Client, keys: Sequence[str]) -> tuple[list[tuple[Any, ...]], list[Sequence[int]]]:
    """Commands that read the values of keys, and of each command the places of its keys."""
    starts = range(0, len(keys), READ_KEYS)
    places = [[start + place for place in some] for start in starts for some in together(client, keys[start : start + READ_KEYS])]
    return [("MGET", *(keys[place] for place in some)) for some in places], list(places)


def in_places(places: Sequence[Sequence[int]], answers: Sequence[Sequence[Any]], count: int) -> list[Any]:
    """Answers of several commands put where their keys stand among ``count``."""
    if len(places) == 1:
        return list(answers[0])
    found: list[Any] = [None] * count
    for some, values in zip(places, answers, strict=True):
        for place, value in zip(some, values, strict=True):
            found[place] = value
    return found


def run_all(client: Client, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Answers of the commands, in one round trip; they are sent as they are, because a cluster pipeline offers no ``eval`` of its own.

    Raises:
        Transient: when Redis does not answer.
    """
    if not calls:
        return []
    with redis_errors():
        if len(calls) == 1:
            alone: Any = client.execute_command
            return [alone(*calls[0])]
        with client.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.execute_command(*call)
            return list(pipe.execute())


def read_all(client: Client, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """``run_all`` for commands that only read. To a plain server they are packed at once and their answers taken as they come, which costs
    half the processor time of a pipeline; a connection that broke is tried once more.

    Raises:
        Transient: when Redis does not answer.
    """
    from redis import RedisCluster
    from redis.exceptions import ConnectionError as Broken

    if isinstance(client, RedisCluster) or not calls:
        return run_all(client, calls)
    with redis_errors():
        try:
            return _read(client, calls)
        except Broken:
            return _read(client, calls)


def _read(client: Any, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Sends the commands and takes every answer before an error among them is raised: the connection goes back to the pool clean."""
    from hiredis import pack_command
    from redis.exceptions import ResponseError

    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command([b"".join([pack_command(call) for call in calls])])
        answers: list[Any] = []
        refused: ResponseError | None = None
        for _ in calls:
            try:
                answers.append(connection.read_response())
            except ResponseError as error:
                refused = refused or error
    finally:
        pool.release(connection)
    if refused is not None:
        raise refused
    return answers


def together(client: Client, keys: Sequence[str]) -> Sequence[Sequence[int]]:
    """Places of the keys that one command may name: all of them, or on a cluster those of one bucket, which share its slot.

    What a command costs here is its Python far more than its keys.
    """
    from redis import RedisCluster

    if not keys:
        return []
    return list(places_by_bucket(keys).values()) if isinstance(client, RedisCluster) else [range(len(keys))]


def places_by_bucket(keys: Sequence[str]) -> dict[str, list[int]]:
    """Places of the keys by the hash tag they begin with."""
    buckets: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        buckets[key[: key.index("}")]].append(place)
    return buckets


def _split(url: str) -> tuple[str, bool]:
    """The URL without our own ``cluster`` parameter, and that parameter."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    cluster = any(name == "cluster" and value.lower() in ("1", "true", "yes") for name, value in query)
    rest = urlencode([(name, value) for name, value in query if name != "cluster"])
    return urlunsplit(parts._replace(query=rest)), cluster
