"""Redis keys and Milvus names. The hash tag ``{...}`` comes first and holds a bucket, so keys of one bucket share a cluster slot."""

import hashlib
import zlib
from collections.abc import Iterable

from msgspec import Struct

BUCKETS = 256
_HEX = tuple(f"{number:02x}" for number in range(BUCKETS))


def bucket(identifier: str) -> int:
    """The bucket (0 to 255) of an id or a tag: CRC-32 of its UTF-8, stable across processes and releases."""
    return zlib.crc32(identifier.encode()) % BUCKETS


class Keys(Struct, frozen=True):
    """Redis keys under one namespace and bundle version; both are ``[A-Za-z0-9_.-]``, checked by the settings."""

    namespace: str
    bundle: str

    @property
    def _tail(self) -> str:
        return f"{self.namespace or 'ts'}:{self.bundle}"

    def profile(self, user_id: str) -> str:
        """A reader's packed record."""
        return f"{{u{bucket(user_id):02x}}}:{self._tail}:profile:{user_id}"

    def note(self, note_id: str) -> str:
        """A note's packed record."""
        return f"{{n{bucket(note_id):02x}}}:{self._tail}:note:{note_id}"

    def notes(self, note_ids: Iterable[str]) -> list[str]:
        """``note`` of each, in a third of the time: a query names hundreds."""
        tail = f"}}:{self._tail}:note:"
        return [f"{{n{_HEX[zlib.crc32(note_id.encode()) % BUCKETS]}{tail}{note_id}" for note_id in note_ids]

    def explored(self, note_id: str) -> str:
        """Readers to whom exploration showed a note."""
        return f"{{n{bucket(note_id):02x}}}:{self._tail}:explored:{note_id}"

    def tag(self, text: str) -> str:
        """Inverted index of one tag: sorted set of note_id by published_at."""
        return f"{{t{bucket(text):02x}}}:{self._tail}:tag:{text}"

    def tags(self, texts: Iterable[str]) -> list[str]:
        """``tag`` of each."""
        tail = f"}}:{self._tail}:tag:"
        return [f"{{t{_HEX[zlib.crc32(text.encode()) % BUCKETS]}{tail}{text}" for text in texts]

    def stamps(self, tags: Iterable[str]) -> list[str]:
        """Beside each tag's list, in its slot, what changes whenever the list does; ``tags``: keys of the lists."""
        start = len("{t00}:") + len(self._tail) + 1
        end = start + len("tag")
        return [f"{tag[:start]}stamp{tag[end:]}" for tag in tags]

    def recent(self, category: str) -> str:
        """Notes of a category (``*`` for all) by published_at."""
        return f"{{c{bucket(category):02x}}}:{self._tail}:recent:{category}"

    def profile_pattern(self) -> str:
        """What SCAN matches every reader's key by."""
        return f"{{u??}}:{self._tail}:profile:*"

    def bundle_pattern(self) -> str:
        """What SCAN matches every key of this bundle by."""
        return f"{{???}}:{self._tail}:*"

    def index_patterns(self) -> tuple[str, str]:
        """What SCAN matches every tag's and every category's key by."""
        return f"{{t??}}:{self._tail}:tag:*", f"{{c??}}:{self._tail}:recent:*"


def canary_key(namespace: str, what: str) -> str:
    """What the canary keeps, for all bundle versions: ``open`` notes and past ``runs``, in one slot."""
    return f"{{canary}}:{namespace or 'ts'}:canary:{what}"


def metrics_key(namespace: str, kind: str, partition: int) -> str:
    """What one partition of the metrics job counted: hash of cells. It belongs to no bundle."""
    return f"{{m{partition % BUCKETS:02x}}}:{namespace or 'ts'}:metrics:{kind}:{partition}"


def note_key(note_id: str) -> str:
    """Primary key of a note in Milvus: 32 hex digits of BLAKE2b, so that no id needs escaping in an expression."""
    return hashlib.blake2b(note_id.encode(), digest_size=16).hexdigest()


def collection(namespace: str, kind: str, bundle: str = "") -> str:
    """Milvus collection (with a bundle) or alias (without): ``[ns_]kind[_bundle]``: letters, digits and underscores, no digit first."""
    parts = [part for part in (namespace, kind, bundle) if part]
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in "_".join(parts))
    return f"_{name}" if name[:1].isdigit() else name
