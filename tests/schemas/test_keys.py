"""Keys: one slot per bucket, no collision whatever the id, names Milvus accepts."""

import re

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from schemas.keys import Keys, bucket, collection, note_key

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(ids)
def test_the_bucket_alone_decides_the_slot(identifier):
    keys = Keys("ns", "b1")
    for key, kind in ((keys.profile(identifier), "u"), (keys.note(identifier), "n"), (keys.tag(identifier), "t")):
        assert key_slot(key.encode()) == key_slot(f"{{{kind}{bucket(identifier):02x}}}".encode())


@given(ids, ids)
def test_different_ids_have_different_keys(one, other):
    keys = Keys("", "b1")
    assert (keys.note(one) == keys.note(other)) == (one == other)
    assert (note_key(one) == note_key(other)) == (one == other)


def test_versions_and_namespaces_do_not_mix():
    assert len({Keys(ns, b).profile("u") for ns in ("", "x") for b in ("b1", "b2")}) == 4


@given(st.from_regex(r"[A-Za-z0-9_.-]{0,40}", fullmatch=True))
def test_collection_names_are_plain(namespace):
    assert re.fullmatch(r"[A-Za-z0-9_]+", collection(namespace, "tag_vectors", "b-1.2"))


@given(st.lists(ids))
def test_keys_of_many_notes_are_the_keys_of_each(note_ids):
    keys = Keys("ns", "b1")
    assert keys.notes(note_ids) == [keys.note(note_id) for note_id in note_ids]
