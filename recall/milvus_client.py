"""The Milvus connection, and what its errors mean."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from schemas.errors import TagStreamError, Transient
from schemas.settings import Settings, redacted

CONNECT_TIMEOUT_S = 5.0
_INVALID_PARAMETER = 1100


def milvus_client(settings: Settings) -> Any:
    """A connected ``pymilvus.MilvusClient``; clients of one process share the channel.

    Raises:
        Transient: when the server does not answer within a few seconds.
    """
    from pymilvus import MilvusClient

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints a traceback for every error that it raises anyway
    with milvus_errors(f"{redacted(settings.milvus_uri)}: "):
        return MilvusClient(uri=settings.milvus_uri, token=settings.milvus_token, timeout=CONNECT_TIMEOUT_S)


@contextmanager
def milvus_errors(prefix: str = "") -> Iterator[None]:
    """Errors of the connection, timeouts and servers that are not ready become ``Transient``. What the server or the client calls a
    wrong argument passes as it is: batches are checked before they are sent, so that is a defect, not an outage."""
    import grpc
    from pymilvus.exceptions import DataNotMatchException, MilvusException, ParamError

    try:
        yield
    except TagStreamError:
        raise
    except (ParamError, DataNotMatchException):
        raise
    except MilvusException as error:
        if error.code == _INVALID_PARAMETER:
            raise
        raise Transient("milvus", prefix + _line(error.message or str(error))) from error
    except grpc.RpcError as error:
        raise Transient("milvus", prefix + _line(str(error.details() if isinstance(error, grpc.Call) else error))) from error


def _line(text: str) -> str:
    """The first line of a message, without the trace of addresses that may follow."""
    return text.strip().splitlines()[0][:300] if text.strip() else "no answer"
