"""The closed form against textbook formulas on small dense matrices."""

import numpy as np
import pytest
from scipy import sparse

from models import closed_form
from models.closed_form import Content, fit_ridges, fit_smoothing, leading_vectors, smooth


def history(readers: int = 40, notes: int = 25, seed: int = 0) -> sparse.csr_matrix:
    generator = np.random.default_rng(seed)
    kinds = generator.integers(4, size=notes)
    likes = (kinds[None, :] == (np.arange(readers) % 4)[:, None]) & (generator.random((readers, notes)) < 0.8)
    return sparse.csr_matrix((likes * generator.integers(1, 4, likes.shape)).astype(np.float32))


def test_leading_vectors_span_what_svd_says() -> None:
    matrix = history().toarray()
    right = np.linalg.svd(matrix, full_matrices=False)[2][:4].T
    found = leading_vectors(sparse.csr_matrix(matrix), 4)
    assert np.allclose(found.T @ found, np.eye(4), atol=1e-5)
    assert np.allclose(found @ found.T, right @ right.T, atol=1e-3)
    assert leading_vectors(sparse.csr_matrix(matrix), 99).shape == (25, 25)


@pytest.mark.parametrize("shape", [(40, 25), (25, 40), (30, 30)])
def test_of_a_dense_matrix_the_leading_vectors_are_exact(shape: tuple[int, int]) -> None:
    """The singular values lie close together, where a few rounds of subspace iteration only come near."""
    matrix = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)[2][:7].T
    found = leading_vectors(matrix, 7)
    assert np.allclose(np.abs(np.einsum("ij,ij->j", found, right)), 1.0, atol=1e-4)
    assert leading_vectors(matrix, 99).shape == (shape[1], min(shape))


def test_a_wide_matrix_has_no_direction_where_it_has_no_length() -> None:
    matrix = np.random.default_rng(3).standard_normal((3, 40)).astype(np.float32)
    found = leading_vectors(np.vstack([matrix, matrix, 2 * matrix]), 8)
    assert found.shape == (40, 8)
    assert np.allclose(found.T @ found, np.diag([1.0] * 3 + [0.0] * 5), atol=1e-4)
    assert not leading_vectors(np.zeros((3, 40), np.float32), 2).any()


@pytest.mark.parametrize("block", [4, 7, 512])
def test_between_is_each_notes_ridge_regression_on_the_others(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "BLOCK", block)
    likes = history()
    smoothing = fit_smoothing(likes, rank=4, l2=3.0)
    dense = (likes > 0).toarray().astype(np.float64)[:, smoothing.items]
    for note in range(dense.shape[1]):
        others = [column for column in range(dense.shape[1]) if column != note]
        x = dense[:, others]
        weights = np.linalg.solve(x.T @ x + 3.0 * np.eye(len(others)), x.T @ dense[:, note])
        assert smoothing.between[note, note] == 0
        assert np.allclose(smoothing.between[others, note], weights, atol=1e-4)


def test_smoothing_brings_the_parts_to_the_histories_length_and_reaches_similar_notes() -> None:
    likes = history()
    smoothing = fit_smoothing(likes, rank=4, own=0.0, near=0.0)
    smoothed, length = smooth(likes, smoothing), np.linalg.norm(likes.toarray(), axis=1)
    assert np.allclose(np.linalg.norm(smoothed, axis=1), length, rtol=1e-4)
    unseen = likes.toarray() == 0
    kinds = np.random.default_rng(0).integers(4, size=25)
    similar = kinds[None, :] == (np.arange(40) % 4)[:, None]
    assert smoothed[unseen & similar].mean() > 5 * abs(smoothed[unseen & ~similar].mean())
    empty = smooth(sparse.csr_matrix((1, 25), dtype=np.float32), fit_smoothing(likes, rank=4))
    assert (empty == 0).all()


def test_ridge_is_the_normal_equations_and_whitening_factors_it() -> None:
    generator = np.random.default_rng(1)
    content = Content(sparse.csr_matrix(generator.random((30, 12)) * (generator.random((30, 12)) < 0.3)), generator.random((30, 3)))
    x = content.matrix().astype(np.float64)
    (ridge,) = fit_ridges(content, 2.0, [np.arange(15)])
    weights = generator.random((5, 30)).astype(np.float32)
    gathered = content.gather(weights)
    assert np.allclose(gathered, weights @ x, atol=1e-4)
    want = (weights @ x) @ np.linalg.solve(x.T @ x + 2.0 * np.eye(15), x.T)
    assert np.allclose(gathered @ ridge.solve(content.matrix().T), want, atol=1e-3)
    whitened = ridge.whiten(gathered)
    assert np.allclose(whitened @ ridge.whiten(content.matrix()).T, want, atol=1e-3)
    basis = np.linalg.qr(generator.random((15, 15)).astype(np.float32))[0]
    item_map = ridge.colour(basis, 15)
    assert np.allclose((gathered @ item_map) @ content.times(item_map).T, want, atol=1e-3)
    assert content.rows(np.array([3, 4])).matrix() == pytest.approx(x[[3, 4]], abs=1e-6)


def test_each_view_is_a_ridge_of_its_own() -> None:
    generator = np.random.default_rng(2)
    tags = sparse.csr_matrix(generator.random((30, 6)) * (generator.random((30, 6)) < 0.4))
    content = Content(tags, generator.random((30, 3)).astype(np.float32), generator.random((30, 2)).astype(np.float32))
    views = [np.arange(9), np.array([0, 1, 2, 3, 4, 5, 8, 9, 10])]
    weights = generator.random((5, 30)).astype(np.float32)
    gathered = content.gather(weights)
    for view, ridge in zip(views, fit_ridges(content, 3.0, views), strict=True):
        x = content.matrix().astype(np.float64)[:, view]
        want = (weights @ x) @ np.linalg.solve(x.T @ x + 3.0 * np.eye(9), x.T)
        assert np.allclose(gathered @ ridge.solve(content.matrix().T), want, atol=1e-3)
        assert np.allclose(ridge.whiten(gathered) @ ridge.whiten(content.matrix()).T, want, atol=1e-3)
        item_map = ridge.colour(np.eye(9, dtype=np.float32), 11)
        assert np.allclose((gathered @ item_map) @ content.times(item_map).T, want, atol=1e-3)
    assert content.rows([2]).shared == pytest.approx(content.matrix()[[2], 9:])
