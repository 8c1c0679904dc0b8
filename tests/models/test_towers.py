"""Towers and losses worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.towers import (
    Bag,
    Features,
    Tower,
    TowerShape,
    bce_loss,
    contrastive_loss,
    hide_tags,
    softmax_loss,
)  # fmt: skip


def bag(*rows: list[tuple[int, float]]) -> Bag:
    starts = [sum(map(len, rows[:row])) for row in range(len(rows))]
    flat = [pair for row in rows for pair in row]
    return Bag(torch.tensor([i for i, _ in flat], dtype=torch.int64), torch.tensor(starts), torch.tensor([w for _, w in flat]))


FEATURES = Features(bag([(0, 1.0), (2, 0.5)], [(1, 2.0)]), torch.tensor([[1.0, 0.0], [0.5, 2.0]]), bag([(0, 1.0)], [(2, 3.0)]))


@pytest.mark.parametrize("radius", [0.0, 2.0])
@pytest.mark.parametrize("notes", [0, 3])
def test_vectors_have_length_one(radius: float, notes: int) -> None:
    torch.manual_seed(0)
    tower = Tower(TowerShape(tags=3, dense=2, notes=notes, dimension=8, hidden=6, buckets=2, radius=radius))
    torch.nn.init.normal_(tower.second.weight)
    vectors = tower(FEATURES)
    assert vectors.shape == (2, 8)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_radius_keeps_the_order_of_inner_products_that_plain_normalisation_loses() -> None:
    torch.manual_seed(0)
    reader = Tower(TowerShape(tags=4, dense=1, notes=1, dimension=5, buckets=0, radius=10.0))
    note = Tower(TowerShape(tags=4, dense=1, dimension=5, buckets=0, radius=10.0))
    dense = torch.zeros(4, 1)
    each = Features(bag(*([(tag, 1.0)] for tag in range(4))), dense)
    raw = note.tags_alone(each.tags)
    query = Features(bag([(0, 1.0)]), dense[:1], bag([]))
    direction = reader.tags_alone(query.tags)
    want = (direction / direction.norm()) @ raw.T / 10.0
    assert torch.allclose(reader(query) @ note(each).T, want, atol=1e-6)


def test_softmax_by_hand_with_a_hidden_note_and_log_q() -> None:
    scores = torch.tensor([[0.2, 0.1, 0.9, 0.3]])
    targets, hidden = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[False, False, True, False]])
    total = sum(math.exp(value / 0.5) for value in (0.2, 0.1, 0.3))
    want = -(0.2 / 0.5 - math.log(total) + 0.3 / 0.5 - math.log(total)) / 2
    assert softmax_loss(scores, targets, hidden, 0.5).item() == pytest.approx(want, abs=1e-6)
    log_q = torch.tensor([0.0, math.log(0.5), 0.0, 0.0])
    total += math.exp(0.1 / 0.5)
    want = -(0.2 / 0.5 + 0.3 / 0.5) / 2 + math.log(total)
    assert softmax_loss(scores, targets, hidden, 0.5, log_q).item() == pytest.approx(want, abs=1e-6)


def test_bce_by_hand() -> None:
    scores = torch.tensor([[1.0, -1.0, 5.0]])
    loss = bce_loss(scores, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[False, False, True]]), 1.0)
    assert loss.item() == pytest.approx(2 * math.log1p(math.exp(-1.0)), abs=1e-6)


def test_contrastive_is_least_where_reader_and_note_tags_agree() -> None:
    rows = torch.eye(3)
    assert contrastive_loss(rows, rows, 1.0).item() == pytest.approx(-1 + math.log(math.e + 2), abs=1e-6)
    assert contrastive_loss(rows, rows.roll(1, 0), 1.0) > contrastive_loss(rows, rows, 1.0)


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4), min_size=1, max_size=3), st.integers(0, 1))
def test_hidden_notes_never_move_a_loss(rows: list[list[float]], column: int) -> None:
    scores = torch.tensor(rows)
    targets, hidden = torch.zeros_like(scores), torch.zeros_like(scores, dtype=torch.bool)
    targets[:, 2], hidden[:, column] = 1.0, True
    other = scores.clone()
    other[:, column] += 7.0
    for loss in (softmax_loss, bce_loss):
        assert torch.equal(loss(scores, targets, hidden, 1.0), loss(other, targets, hidden, 1.0))
        assert torch.isfinite(loss(scores, targets, hidden, 1.0))


def test_tag_dropout_keeps_the_mean() -> None:
    tags = bag([(0, 1.0)] * 20_000)
    dropped = hide_tags(tags, 0.5, torch.Generator().manual_seed(0)).weights
    assert set(dropped.tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(hide_tags(tags, 0.0, torch.Generator()).weights, tags.weights)
