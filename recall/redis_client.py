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
    """Values of ``schemas.keys`` keys, in order; one MGET a bucket, so that each stays within a cluster slot, all in few round trips.

    Raises:
        Transient: when Redis does not answer.
    """
    found: list[bytes | None] = [None] * len(keys)
    pipelined: Any = client
    for start in range(0, len(keys), READ_KEYS):
        wanted = keys[start : start + READ_KEYS]
        buckets = places_by_bucket(wanted)
        with redis_errors():
            pipeline = pipelined.pipeline(transaction=False)
            for places in buckets.values():
                pipeline.execute_command("MGET", *(wanted[place] for place in places))
            answers = pipeline.execute()
        for places, values in zip(buckets.values(), answers, strict=True):
            for place, value in zip(places, values, strict=True):
                found[start + place] = value
    return found


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
