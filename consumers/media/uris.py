"""Media URIs, parsed once and strictly; what is not plainly a file, a web or an object address is refused here."""

import re
from ipaddress import IPv6Address
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from msgspec import Struct

from consumers.media.results import Refusal

URI_MAX = 4096
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
USUAL_PORT = {"http": 80, "https": 443}


class FileUri(Struct, frozen=True):
    """An absolute path without ``..``."""

    path: PurePosixPath


class WebUri(Struct, frozen=True):
    """``host`` in ASCII, lower case, without brackets; ``target`` is path and query as sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        """The address again, for resolving a redirect against it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


class ObjectUri(Struct, frozen=True):
    """An object in a bucket."""

    bucket: str
    key: str


def parse(uri: str) -> FileUri | WebUri | ObjectUri:
    """What a URI names.

    Raises:
        Refusal: ``unknown_scheme`` or ``bad_uri``; ``outside_roots`` for a path with ``..``.
    """
    if not uri or len(uri) > URI_MAX:
        raise Refusal("bad_uri", f"a URI of {len(uri)} characters, 1 to {URI_MAX} are taken")
    if any(ord(letter) <= 32 or letter == "\\" or 127 <= ord(letter) < 160 for letter in uri):
        raise Refusal("bad_uri", "a URI with a space, a backslash or a control character")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise Refusal("bad_uri", f"no URI: {error}") from None
    if parts.scheme == "file":
        return _file(parts)
    if parts.scheme in USUAL_PORT:
        return _web(parts, port)
    if parts.scheme == "s3":
        return _object(parts)
    raise Refusal("unknown_scheme", "only file, http, https and s3 are taken")


def _file(parts: SplitResult) -> FileUri:
    if parts.netloc not in ("", "localhost"):
        raise Refusal("bad_uri", "a file URI with a host")
    if parts.query or parts.fragment:
        raise Refusal("bad_uri", "a file URI with ? or #; write %3F or %23")
    raw = unquote_to_bytes(parts.path)
    if not raw.startswith(b"/") or b"\0" in raw:
        raise Refusal("bad_uri", "a file URI without an absolute path")
    try:
        path = PurePosixPath(raw.decode())
    except UnicodeDecodeError:
        raise Refusal("bad_uri", "a file URI that is no UTF-8") from None
    if ".." in path.parts:
        raise Refusal("outside_roots", "a path with ..")
    return FileUri(path)


def _web(parts: SplitResult, port: int | None) -> WebUri:
    if parts.username is not None or parts.password is not None:
        raise Refusal("bad_uri", "a URL with a user or password")
    host = (parts.hostname or "").rstrip(".")
    if ":" in host:
        try:
            host = str(IPv6Address(host.replace("%", "no scope ")))
        except ValueError:
            raise Refusal("bad_uri", "a URL whose host is no IPv6 address") from None
    else:
        try:
            host = host.encode("idna").decode().lower()
        except UnicodeError:
            raise Refusal("bad_uri", "a URL whose host is no name") from None
        if len(host) > 253 or not _HOST.fullmatch(host):
            raise Refusal("bad_uri", "a URL whose host is no name")
    if port == 0:
        raise Refusal("bad_uri", "a URL with port 0")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    ascii_target = "".join(letter if letter.isascii() else "".join(f"%{byte:02X}" for byte in letter.encode()) for letter in target)
    return WebUri(
        parts.scheme, host, port or USUAL_PORT[parts.scheme], ascii_target if ascii_target.startswith("/") else "/" + ascii_target
    )


def _object(parts: SplitResult) -> ObjectUri:
    key = unquote_to_bytes(parts.path.lstrip("/")).decode(errors="replace")
    if not _BUCKET.fullmatch(parts.netloc) or not key or "\0" in key or parts.query or parts.fragment:
        raise Refusal("bad_uri", "write s3://bucket/key")
    return ObjectUri(parts.netloc, key)
