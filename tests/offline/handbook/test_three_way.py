"""The merge of trees: whatever an expert did stands, whatever is proposed is taken, remembered or listed."""

from hypothesis import given
from hypothesis import strategies as st

from offline.handbook.three_way import chosen, merge_trees
from offline.handbook.tree import differences, from_tree, overlay, to_tree

KEYS = st.sampled_from("abc")
TREES = st.dictionaries(KEYS, st.dictionaries(KEYS, st.integers(0, 2), min_size=1, max_size=3), max_size=3)
EXAMPLES = {f"example {number}": f"例{number}" for number in range(30)}


def leaves(tree):
    return {(one, two): value for one, inner in tree.items() for two, value in inner.items()}


class Handbook:
    """A file and what its sidecar remembers."""

    def __init__(self, ours) -> None:
        self.ours, self.proposed, self.known = ours, {}, {}

    def merge(self, theirs, **decisions):
        found = merge_trees(self.proposed, self.known, theirs, self.ours, chosen(decisions.get("keep", ()), decisions.get("take", ())))
        self.known = overlay(overlay(self.known, self.ours), found.tree)
        self.proposed = overlay(self.proposed, found.settled)
        self.ours = found.tree
        return found


@given(first=TREES, rounds=st.lists(st.tuples(TREES, TREES), min_size=1, max_size=4))
def test_no_edit_and_no_proposal_is_lost_without_a_word(first, rounds):
    book = Handbook(first)
    for theirs, edited in rounds:
        proposed, known, ours = (leaves(one) for one in (book.proposed, book.known, book.ours))
        found = book.merge(theirs)
        after = leaves(found.tree)
        for path, value in ours.items():
            assert after.get(path) == value or proposed.get(path) == value, "only what an expansion wrote and nobody touched may change"
        for path in {*known, *proposed} - ours.keys():
            assert path not in after, "removed is removed"
        told = [conflict.path for conflict in found.conflicts]
        remembered = known | proposed
        for path, value in leaves(theirs).items():
            listed = path[0] in told or "/".join(path) in told
            seen = proposed.get(path) == value or (path not in ours and remembered.get(path) == value)
            assert after.get(path) == value or seen or listed, "a proposal is taken, known already, or listed"
        book.ours = edited


@given(first=TREES, edited=TREES, theirs=TREES, more=TREES)
def test_once_more_changes_nothing_and_conflicts_stay(first, edited, theirs, more):
    book = Handbook(first)
    book.merge(theirs)
    book.ours = edited
    found = book.merge(more)
    before = (book.ours, book.proposed, book.known)
    again = book.merge(more)
    assert (book.ours, book.proposed, book.known) == before and again.conflicts == found.conflicts


@given(first=TREES, theirs=TREES, edited=TREES)
def test_nothing_new_is_the_identity(first, theirs, edited):
    book = Handbook(first)
    book.merge(theirs, keep=["all"])
    book.ours = edited
    for again in (theirs, {}):
        found = book.merge(again)
        assert found.tree == edited and list(found.tree) == list(edited) and not found.conflicts


@given(first=TREES, theirs=TREES, edited=TREES, more=TREES)
def test_every_conflict_can_be_settled_either_way(first, theirs, edited, more):
    for way in ("keep", "take"):
        book = Handbook(first)
        book.merge(theirs)
        book.ours = edited
        undecided = merge_trees(book.proposed, book.known, more, edited).conflicts
        found = book.merge(more, **{way: [conflict.path for conflict in undecided]})
        assert not found.conflicts and not book.merge(more).conflicts
        for path, value in leaves(more).items():
            if any("/".join(path).startswith(conflict.path) for conflict in undecided):
                assert (leaves(found.tree).get(path) == value) == (way == "take")


def dimension(count: int, **more):
    return {"name": {"en": "X", "zh": "某"}, "description": "d", "examples": dict(list(EXAMPLES.items())[:count])} | more


def test_what_has_no_room_is_listed_and_not_forgotten():
    book = Handbook({"dimensions": {f"d{number}": dimension(18) for number in range(11)}})
    theirs = {"dimensions": {"d0": {"examples": dict(list(EXAMPLES.items())[18:22])}, "new": dimension(8), "other": dimension(8)}}
    for _ in range(2):
        found = book.merge(theirs)
        assert len(found.tree["dimensions"]["d0"]["examples"]) == 20 and "new" in found.tree["dimensions"]
        assert sorted(conflict.path for conflict in found.conflicts) == [
            "dimensions/d0/examples/example 20",
            "dimensions/d0/examples/example 21",
            "dimensions/other",
        ]
    del book.ours["dimensions"]["d0"]["examples"]["example 3"]
    del book.ours["dimensions"]["d5"]
    found = book.merge(theirs)
    assert [conflict.path for conflict in found.conflicts] == ["dimensions/d0/examples/example 21"]
    assert "example 20" in found.tree["dimensions"]["d0"]["examples"] and "other" in found.tree["dimensions"]


def test_a_dimension_that_is_not_whole_is_no_new_one():
    book = Handbook({"dimensions": {}})
    found = book.merge({"dimensions": {"few": dimension(7), "nameless": {"examples": dimension(9)["examples"]}}})
    assert found.tree == {"dimensions": {}}
    assert {conflict.path: conflict.reason for conflict in found.conflicts} == {
        "dimensions/few": "a new dimension needs 8 examples",
        "dimensions/nameless": "a new dimension needs a name and a description",
    }


def test_a_longer_path_decides_before_a_shorter():
    decide = chosen(["all", "dimensions/a/examples"], ["dimensions/a"])
    assert [decide(path) for path in ("terms/x", "dimensions/a/name", "dimensions/a/examples/x", "dimensions/ab")] == [
        "keep",
        "take",
        "keep",
        "keep",
    ]
    assert chosen([], [])("terms/x") is None


@given(before=TREES, after=TREES)
def test_differences_tell_all_that_differs(before, after):
    found = {one.path: one for one in differences(before, after)}
    assert (not found) == (before == after)
    for path in {*leaves(before), *leaves(after)}:
        same = leaves(before).get(path) == leaves(after).get(path)
        assert same != (path[0] in found or "/".join(path) in found)


def test_a_tree_is_the_file_without_numbers():
    raw = {
        "version": 3,
        "category": "shoes",
        "terms": {"boots": "靴子"},
        "dimensions": [{"id": "a", "cues": ["x", "y"], "concepts": [{"en": "e", "zh": "中", "cues": ["c"]}], "names_works": True}],
    }
    assert from_tree(to_tree(raw), 3, "shoes") == raw
