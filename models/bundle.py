"""A bundle's name: short, and different as soon as anything that changes tags or vectors is different."""

import hashlib

from models.roles import TagEncoder, Tagger


def bundle_version(tagger: Tagger, encoder: TagEncoder) -> str:
    """``b`` and ten hex digits over the names and versions of the parts."""
    parts = "\x00".join((tagger.name, tagger.version, encoder.version))
    return "b" + hashlib.blake2b(parts.encode(), digest_size=5).hexdigest()
