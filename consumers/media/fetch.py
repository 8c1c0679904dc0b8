"""``fetch(uri)``: a file on disk or a reason, whatever the URI and whoever serves it."""

import errno
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from consumers.media.deadline import Deadline
from consumers.media.files import fetch_file
from consumers.media.http import Write, fetch_http
from consumers.media.limits import MediaLimits
from consumers.media.objects import fetch_object
from consumers.media.results import Fetched, Refusal, Refused
from consumers.media.store import MediaStore
from consumers.media.uris import FileUri, ObjectUri, parse

AT_A_TIME = 8


class Fetcher:
    """Fetches the media of one batch; as a context manager it deletes all files at the end. A URI is fetched once per batch."""

    def __init__(self, limits: MediaLimits) -> None:
        self.limits = limits
        self._store = MediaStore(limits.cache_bytes, limits.max_bytes)
        self._refused: dict[str, Refused] = {}
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="media-fetch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Deletes the files."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._store.close()

    def fetch(self, uri: str, within_s: float | None = None) -> Fetched | Refused:
        """The medium at a URI; it stays until ``release`` or ``close``.

        Args:
            uri: as it stands in the note event; not trusted.
            within_s: seconds, at most those of the limits.
        """
        known = self._store.get(uri) or self._refused.get(uri)
        if known is not None:
            return known
        within = self.limits.timeout_s if within_s is None else min(within_s, self.limits.timeout_s)
        deadline = Deadline(within)
        try:
            deadline.check()
            return self._store.put(uri, lambda write: self._fill(uri, deadline, write))
        except Refusal as refusal:
            if not (refusal.refused.reason == "timeout" and within < self.limits.timeout_s):
                self._refused[uri] = refusal.refused
            return refusal.refused
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return Refused("cache_full" if full else "unreachable", "this machine's disk does not take it")
        finally:
            deadline.close()

    def fetch_all(self, uris: Sequence[str], within_s: float) -> list[Fetched | Refused]:
        """Several at a time, answers in order; the same URI twice is fetched once and held twice."""
        distinct = list(dict.fromkeys(uris))
        end = time.monotonic() + within_s
        found = dict(zip(distinct, self._pool.map(lambda uri: self.fetch(uri, end - time.monotonic()), distinct), strict=True))
        for uri in uris:
            if uri in distinct:
                distinct.remove(uri)
            else:
                self._store.get(uri)
        return [found[uri] for uri in uris]

    def release(self, uri: str) -> None:
        """The caller no longer needs the file of a URI."""
        self._store.release(uri)

    def _fill(self, uri: str, deadline: Deadline, write: Write) -> None:
        parsed = parse(uri)
        if isinstance(parsed, FileUri):
            fetch_file(parsed, self.limits, deadline, write)
        elif isinstance(parsed, ObjectUri):
            fetch_object(parsed, self.limits, deadline, write)
        else:
            fetch_http(parsed, self.limits, deadline, write)
