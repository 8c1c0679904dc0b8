"""file: only below configured roots, whatever symbolic links and swapped directories say."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from consumers.media.deadline import Deadline
from consumers.media.http import CHUNK, Write
from consumers.media.limits import MediaLimits
from consumers.media.results import Refusal
from consumers.media.uris import FileUri


def fetch_file(uri: FileUri, limits: MediaLimits, deadline: Deadline, write: Write) -> None:
    """Hands a file's bytes to ``write``, piece by piece.

    Raises:
        Refusal: ``scheme_not_enabled`` without roots, ``outside_roots``, ``not_found``, ``not_a_file``, ``too_large``, ``timeout``.
    """
    if not limits.roots:
        raise Refusal("scheme_not_enabled", "TAGSTREAM_MEDIA_ROOTS names no directory")
    handle = _open(uri, limits.roots)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise Refusal("not_a_file", "a directory, pipe or device")
        if found.st_size > limits.max_bytes:
            raise Refusal("too_large", f"{found.st_size} bytes, at most {limits.max_bytes}")
        while piece := os.read(handle, 16 * CHUNK):
            deadline.check()
            write(piece)
    except OSError:
        raise Refusal("not_found", "it cannot be read") from None
    finally:
        os.close(handle)


def _open(uri: FileUri, roots: tuple[Path, ...]) -> int:
    """Links are resolved first, so that links within a root work; then the way from the root down is walked one step at a time without
    following any, so that nothing swapped in meanwhile leads out."""
    try:
        real = Path(os.path.realpath(uri.path, strict=True))
    except FileNotFoundError:
        raise Refusal("not_found" if _below(Path(os.path.realpath(uri.path)), roots) else "outside_roots", "no such file") from None
    except (OSError, ValueError):
        raise Refusal("outside_roots", "its path cannot be resolved") from None
    root = _below(real, roots)
    if root is None:
        raise Refusal("outside_roots", "its path, links followed, is not below TAGSTREAM_MEDIA_ROOTS")
    *folders, name = real.relative_to(root).parts or (".",)
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    except OSError:
        raise Refusal("not_found", "it cannot be opened") from None
    finally:
        with suppress(OSError):
            os.close(at)


def _below(path: Path, roots: tuple[Path, ...]) -> Path | None:
    return next((root for root in roots if path.is_relative_to(root)), None)
