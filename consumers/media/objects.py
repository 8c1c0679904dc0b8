"""s3, by fsspec: only named buckets. Endpoint and credentials are the operator's, from the usual AWS environment."""

from typing import Any

from consumers.media.deadline import Deadline
from consumers.media.http import Write
from consumers.media.limits import MediaLimits
from consumers.media.results import Refusal
from consumers.media.uris import ObjectUri

PIECE = 8_388_608


def fetch_object(uri: ObjectUri, limits: MediaLimits, deadline: Deadline, write: Write) -> None:
    """Hands an object's bytes to ``write``, piece by piece; each call to the store has the seconds that are left.

    Raises:
        Refusal: ``scheme_not_enabled`` without buckets or without the ``s3`` extra, ``bucket_not_allowed``, ``not_found``,
            ``unreachable``, ``too_large``, ``timeout``.
    """
    if not limits.buckets:
        raise Refusal("scheme_not_enabled", "TAGSTREAM_MEDIA_BUCKETS names no bucket")
    if uri.bucket not in limits.buckets:
        raise Refusal("bucket_not_allowed", "its bucket is not among TAGSTREAM_MEDIA_BUCKETS")
    store, sync, expired = _store()
    name = f"{uri.bucket}/{uri.key}"
    try:
        size = int(sync(store.loop, store._info, name, timeout=max(deadline.left, 0.001))["size"] or 0)
        if size > limits.max_bytes:
            raise Refusal("too_large", f"{size} bytes, at most {limits.max_bytes}")
        for start in range(0, size, PIECE):
            deadline.check()
            end = min(start + PIECE, size)
            piece = sync(store.loop, store._cat_file, name, start=start, end=end, timeout=max(deadline.left, 0.001))
            write(piece)
            if len(piece) < end - start:
                raise Refusal("incomplete", f"{start + len(piece)} of {size} bytes")
    except FileNotFoundError:
        raise Refusal("not_found", "no such object") from None
    except expired:
        raise Refusal("timeout", "it was not there in time") from None
    except OSError:
        deadline.check()
        raise Refusal("unreachable", "the object store does not give it") from None
    except Exception as error:
        if isinstance(error, Refusal) or not type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "fsspec", "s3fs")):
            raise
        raise Refusal("unreachable", "the object store does not give it") from None


def _store() -> tuple[Any, Any, type[Exception]]:
    """The s3 file system, fsspec's bridge into its event loop, and what that raises when its time is over."""
    try:
        import fsspec
        from fsspec.asyn import FSTimeoutError, sync

        return fsspec.filesystem("s3", default_cache_type="none", use_listings_cache=False), sync, FSTimeoutError
    except ImportError:
        raise Refusal("scheme_not_enabled", "s3 needs the extra: pip install 'tagstream[s3]'") from None
