"""Features of a note by its tags: the same alone as among the notes they were fitted to."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from models.tag_content import ContentSpec, TagContent, fit_content, load_content, tag_ids
from tests.models.hashing_encoder import HashingEncoder

NOTES = [["linen", "midi", "a-line"], ["linen", "silk"], ["silk", "midi"], ["once"], [], ["linen", "everywhere"]]


def fitted(notes: list[list[str]], texts: list[str], **options: object) -> tuple[TagContent, sparse.csr_matrix]:
    """Fitted to ``notes``, of whose tags only ``texts`` are counted."""
    counts = sparse.csr_matrix(np.array([[float(text in note) for text in texts] for note in notes], np.float32))
    vectors = HashingEncoder().encode([text.replace("-", " ") for text in texts])
    content = fit_content(counts, texts, vectors, np.arange(len(notes) - 1), ContentSpec(buckets=4, idf_power=1.5), **options)  # type: ignore[arg-type]
    return content, content.of_counts(counts, texts, vectors)


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5, unique=True), min_size=2, max_size=8))
def test_a_note_alone_has_the_features_of_the_training_matrix(notes: list[list[str]]) -> None:
    texts = sorted({text for note in notes for text in note}) or ["a"]
    content, matrix = fitted(notes, texts)
    for row, note in enumerate(notes):
        alone = content.of_notes([note], HashingEncoder()).matrix()[0]
        assert np.allclose(alone, matrix.rows([row]).matrix()[0], atol=1e-6)


def test_what_training_left_out_is_left_out_and_all_new_tags_still_say_something() -> None:
    content, matrix = fitted(NOTES, ["linen", "midi", "silk"], common=frozenset({"everywhere"}), rare_left_out=True)
    alone = content.of_notes(NOTES, HashingEncoder()).matrix()
    assert np.allclose(alone[[0, 1, 2, 4, 5]], matrix.matrix()[[0, 1, 2, 4, 5]], atol=1e-6)
    assert alone[3, : content.width].any() and not matrix.tags[3].nnz
    both = fitted(NOTES, ["linen", "midi", "silk"])[0].of_notes([["linen", "new"]], HashingEncoder())
    assert len(both.tags.indices) == 2


def ranked(notes: list[list[str]], texts: list[str], spec: ContentSpec) -> tuple[TagContent, np.ndarray]:
    """Fitted with the tags' places in their notes."""
    counts = sparse.csr_matrix(np.array([[float(text in note) for text in texts] for note in notes], np.float32))
    places = [[float(note.index(text) + 1) if text in note else 0.0 for text in texts] for note in notes]
    ranks = sparse.csr_matrix(np.array(places, np.float32))
    vectors = HashingEncoder().encode([text.replace("-", " ") for text in texts])
    content = fit_content(counts, texts, vectors, np.arange(len(notes)), spec, ranks=ranks)
    return content, content.of_counts(counts, texts, vectors, ranks).matrix()


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5, unique=True), min_size=2, max_size=8))
def test_ranks_count_the_same_in_training_and_serving(notes: list[list[str]]) -> None:
    texts = sorted({text for note in notes for text in note}) or ["a"]
    content, matrix = ranked(notes, texts, ContentSpec(buckets=4, rank_power=1.5, hashed=0.5))
    for row, note in enumerate(notes):
        assert np.allclose(content.of_notes([note], HashingEncoder()).matrix()[0], matrix[row], atol=1e-6)


def test_the_first_tag_counts_most_by_its_vector_alone() -> None:
    notes = [["linen", "midi"], ["midi", "linen"], ["silk", "once"]]
    texts = ["linen", "midi", "silk", "once"]
    content, matrix = ranked(notes, texts, ContentSpec(buckets=4, rank_power=3.0, static=0.0))
    _, plain = ranked(notes, texts, ContentSpec(buckets=4, static=0.0))
    width = content.width
    assert np.allclose(plain[0], plain[1])
    assert np.allclose(matrix[0, :width], matrix[1, :width])
    centre = np.array(content.centre, np.float32)
    linen, midi = HashingEncoder().encode(["linen", "midi"])
    first, second = (matrix[row, width:-2] + centre for row in (0, 1))
    assert first @ linen > second @ linen
    assert second @ midi > first @ midi


def by_confidence(notes: list[list[str]], sure: list[list[float]], texts: list[str], spec: ContentSpec) -> tuple[TagContent, np.ndarray]:
    """Fitted with the tags' confidences."""
    counts = sparse.csr_matrix(np.array([[float(text in note) for text in texts] for note in notes], np.float32))
    dense = [
        [of[note.index(text)] if text in note else 0.0 for text in texts] for note, of in zip(notes, sure, strict=True)
    ]  # all above 0, so that both matrices hold the same places
    confidences = sparse.csr_matrix(np.array(dense, np.float32))
    vectors = HashingEncoder().encode([text.replace("-", " ") for text in texts])
    content = fit_content(counts, texts, vectors, np.arange(len(notes)), spec, confidences=confidences)
    return content, content.of_counts(counts, texts, vectors, confidences=confidences).matrix()


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0.05, 1.0)), max_size=5, unique_by=lambda pair: pair[0]),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_confidences_count_the_same_in_training_and_serving(given_tags: list[list[tuple[str, float]]], power: float) -> None:
    notes, sure = [[text for text, _ in tags] for tags in given_tags], [[much for _, much in tags] for tags in given_tags]
    texts = sorted({text for note in notes for text in note}) or ["a"]
    content, matrix = by_confidence(notes, sure, texts, ContentSpec(buckets=4, confidence_power=power))
    together = content.of_notes(notes, HashingEncoder(), sure).matrix()
    assert np.allclose(together, matrix, atol=1e-5)
    for row, (note, of) in enumerate(zip(notes, sure, strict=True)):
        assert np.array_equal(content.of_notes([note], HashingEncoder(), [of]).matrix()[0], together[row])


def test_a_tag_counts_by_its_confidence_in_columns_and_vectors() -> None:
    notes, texts = [["linen", "midi"], ["midi", "linen"], ["silk", "once"]], ["linen", "midi", "silk", "once"]
    sure = [[0.9, 0.1], [0.9, 0.1], [1.0, 1.0]]
    content, matrix = by_confidence(notes, sure, texts, ContentSpec(buckets=4, static=0.0, confidence_power=1.0))
    linen, midi = (content.columns[text] for text in ("linen", "midi"))
    assert np.isclose(matrix[0, linen] / matrix[0, midi], 9.0) and np.isclose(matrix[1, midi] / matrix[1, linen], 9.0)
    vectors = matrix[:, content.width : -2] + np.array(content.centre, np.float32)
    of_linen, of_midi = HashingEncoder().encode(["linen", "midi"])
    assert vectors[0] @ of_linen > vectors[1] @ of_linen and vectors[1] @ of_midi > vectors[0] @ of_midi
    alike, same = by_confidence(notes, sure, texts, ContentSpec(buckets=4, static=0.0))
    assert np.allclose(same[0], same[1]) and np.allclose(alike.of_notes(notes[:1], HashingEncoder()).matrix()[0], same[0], atol=1e-6)
    unsure = content.of_notes([["linen"]], HashingEncoder(), [[0.0]]).matrix()[0]
    assert np.allclose(unsure, content.of_notes([["linen"]], HashingEncoder()).matrix()[0], atol=1e-6), (
        "a note's only tag says what it says"
    )


def test_hashed_columns_can_be_left_without_weight() -> None:
    notes = [["linen", "once"], ["linen", "midi"], ["midi", "silk"]]
    texts = ["linen", "midi", "silk", "once"]
    content, with_them = ranked(notes, texts, ContentSpec(buckets=4))
    _, without = ranked(notes, texts, ContentSpec(buckets=4, hashed=0.0))
    known = len(content.columns)
    assert with_them[0, known : content.width].any()
    assert not without[:, known : content.width].any()
    assert np.isclose(np.linalg.norm(without[0, :known]), 1.0)


def test_rows_are_the_same_to_the_bit_in_any_company_and_order_of_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    content, _ = fitted(NOTES, ["linen", "midi", "silk", "once", "a-line"])
    content.save(tmp_path)
    again = load_content(tmp_path)
    together = content.of_notes(NOTES, HashingEncoder()).matrix()
    for order in (range(6), (5, 3, 1, 0)):
        for row in order:
            assert np.array_equal(again.of_notes([NOTES[row]], HashingEncoder()).matrix()[0], together[row])


def test_unknown_tags_share_rows_behind_the_known_ones() -> None:
    vocabulary = {"linen": 0, "midi": 1}
    ids = tag_ids(["midi", "never seen", "linen", "never seen"], vocabulary, 16)
    assert (ids[0], ids[2]) == (1, 0)
    assert ids[1] == ids[3] and 2 <= ids[1] < 18
    assert len(set(tag_ids([f"tag {n}" for n in range(200)], vocabulary, 16))) == 16


def test_tags_that_the_same_readers_act_on_lie_near_each_other(tmp_path) -> None:  # type: ignore[no-untyped-def]
    kinds = "aaaabbbb"
    texts = [f"{kind}{number}" for number, kind in enumerate(kinds)]
    notes = [*([text] for text in texts), ["a0", "b4"], ["a0", "new"], []]
    mine = [[float(kind == liked) for kind in kinds] + [0.0] * 3 for liked in "aaabb"]
    history = sparse.csr_matrix(np.array(mine, np.float32))
    content, matrix = fitted(notes, texts, history=history)
    rows = content.of_notes(notes, HashingEncoder()).shared
    assert rows is not None and matrix.shared is not None and np.allclose(rows[:9], matrix.shared[:9], atol=1e-6)
    uncentred = rows[:8] + np.array(content.shared_centre, np.float32)
    alike = [[float(one == other) for one in kinds] for other in kinds]
    assert np.allclose(uncentred @ uncentred.T, alike, atol=1e-4)
    assert not rows[10].any()
    content.save(tmp_path)
    again = load_content(tmp_path).of_notes(notes, HashingEncoder()).shared
    assert again is not None and np.array_equal(again, rows)
    nobody, _ = fitted(notes, texts, history=history * 0)
    assert nobody.shared is None and nobody.of_notes(notes, HashingEncoder()).shared is None
