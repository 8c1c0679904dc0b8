"""http and https: hosts by an allow-list, connections only to the very address that was checked, redirects checked like the first URL.

The standard library's client is enough here and leaves nothing in between: no proxies, no cookies, no decoding, no redirects of its own.
"""

import http.client
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from urllib.parse import urljoin

from consumers.media.addresses import resolve
from consumers.media.deadline import Deadline
from consumers.media.limits import MediaLimits
from consumers.media.results import Reason, Refusal
from consumers.media.uris import USUAL_PORT, WebUri, parse

CHUNK = 65_536
CONNECT_S = 5.0
REDIRECTS = (301, 302, 303, 307, 308)
Write = Callable[[bytes], None]


def fetch_http(uri: WebUri, limits: MediaLimits, deadline: Deadline, write: Write) -> None:
    """Hands the body of a resource to ``write``, piece by piece.

    Raises:
        Refusal: with every reason that a web address can be refused for; whatever ``write`` raises.
    """
    for _ in range(limits.max_redirects + 1):
        onward = _one(uri, limits, deadline, write)
        if onward is None:
            return
        uri = onward
    raise Refusal("too_many_redirects", f"more than {limits.max_redirects}")


def _one(uri: WebUri, limits: MediaLimits, deadline: Deadline, write: Write) -> WebUri | None:
    """One request: the place it redirects to, or None when the body is written."""
    if not any(rule.allows(uri.host, uri.port, USUAL_PORT[uri.scheme]) for rule in limits.hosts):
        reason: Reason = "host_not_allowed" if limits.hosts else "scheme_not_enabled"
        raise Refusal(reason, "its host is not among TAGSTREAM_MEDIA_HOSTS")
    connection = _Pinned(uri, limits, deadline)
    try:
        connection.request("GET", uri.target, headers={"Accept-Encoding": "identity", "User-Agent": "tagstream", "Connection": "close"})
        answer = connection.getresponse()
        if answer.status in REDIRECTS:
            return _onward(uri, answer.getheader("Location"))
        if answer.status != 200:
            raise Refusal("http_status", f"status {answer.status}")
        _body(answer, limits, deadline, write)
        return None
    except (OSError, http.client.HTTPException, ValueError) as error:
        deadline.check()
        if isinstance(error, http.client.IncompleteRead):
            raise Refusal("incomplete", "the connection ended before the body") from None
        raise Refusal("unreachable", _why(error)) from None
    finally:
        with suppress(OSError):
            connection.close()


def _body(answer: http.client.HTTPResponse, limits: MediaLimits, deadline: Deadline, write: Write) -> None:
    encoding = (answer.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise Refusal("content_encoding", "the server packed the body although asked not to")
    promised = answer.length
    if promised is not None and promised > limits.max_bytes:
        raise Refusal("too_large", f"{promised} bytes, at most {limits.max_bytes}")
    taken = 0
    while piece := answer.read1(CHUNK) if promised is not None else answer.read(CHUNK):
        deadline.check()
        taken += len(piece)
        write(piece)
    deadline.check()
    if promised is not None and taken < promised:
        raise Refusal("incomplete", f"{taken} of {promised} bytes")


def _onward(uri: WebUri, location: str | None) -> WebUri:
    if not location:
        raise Refusal("bad_redirect", "a redirect to nowhere")
    try:
        onward = parse(urljoin(uri.url, location))
    except (Refusal, ValueError):
        raise Refusal("bad_redirect", "a redirect to something that is no web address") from None
    if not isinstance(onward, WebUri):
        raise Refusal("bad_redirect", "a redirect to something that is no web address")
    return onward


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate does not hold"
    return "no HTTP" if isinstance(error, http.client.HTTPException | ValueError) else "it does not answer"


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was resolved and checked here, once; the name is only used for Host and for the certificate."""

    def __init__(self, uri: WebUri, limits: MediaLimits, deadline: Deadline) -> None:
        super().__init__(uri.host, uri.port)
        self.default_port = USUAL_PORT[uri.scheme]
        self._uri = uri
        self._limits = limits
        self._deadline = deadline

    def connect(self) -> None:
        """Connects to the first of the host's addresses that answers; none is tried unless all are allowed."""
        self._deadline.check()
        addresses = resolve(self._uri.host, self._uri.port, self._limits.networks, self._deadline.left)
        problem: OSError = OSError("no address")
        for address in addresses:
            self._deadline.check()
            raw = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
            try:
                raw.settimeout(max(min(CONNECT_S, self._deadline.left), 0.001))
                raw.connect((str(address), self._uri.port))
                self._deadline.watch(raw)
                raw.settimeout(max(self._deadline.left, 0.001))
                self.sock = _tls().wrap_socket(raw, server_hostname=self._uri.host) if self._uri.scheme == "https" else raw
                return
            except OSError as error:
                raw.close()
                problem = error
        raise problem


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
