"""The demo model's own forward pass, positions and patches are those of transformers' model and processor."""

import numpy as np
import torch

from offline.demo_models.vlm_build import Size, make_model, make_processor, train_tokenizer
from offline.demo_models.vlm_forward import logits_of, loss_of
from offline.demo_models.vlm_rows import Row, _batch, _row, batches, patches

SMALL = Size(vocabulary=600, width=64, layers=2, inner=96, heads=2, key_heads=1, sight=32, sight_layers=2, sight_heads=2)
PIXELS = 96 * 96  # 3 x 3 tokens
TEXTS = ["running shoes on a wet road", "缓震跑鞋适合长距离"] * 5


def made() -> tuple[object, object, list[Row], torch.Tensor]:
    torch.manual_seed(1)
    tokenizer = train_tokenizer(TEXTS, [], SMALL.vocabulary)
    processor = make_processor(tokenizer, PIXELS)
    model = make_model(tokenizer, SMALL, PIXELS).eval()
    image = model.config.image_token_id
    words = tokenizer("running shoes on a wet road")["input_ids"]
    rows = [
        _row(np.array([*words, image, words[0], image, *words]), len(words) + 3, np.array([0, 1]), image, 3),
        _row(np.array(words + words[:2]), 3, np.array([], np.int64), image, 3),
        _row(np.array([image, *words]), 4, np.array([2]), image, 3),
    ]
    pictures = torch.from_numpy(np.random.default_rng(2).integers(0, 255, (3, 96, 96, 3), dtype=np.uint8))
    return model, processor, rows, pictures


def test_patches_are_the_processors() -> None:
    _, processor, _, pictures = made()
    theirs = processor.image_processor(list(pictures.numpy()), return_tensors="pt")
    ours = patches(pictures)
    assert theirs["image_grid_thw"].tolist() == [[1, 6, 6]] * 3
    assert torch.allclose(ours.reshape(-1, ours.shape[-1]), theirs["pixel_values"], atol=1e-5)


def test_logits_and_positions_are_the_models() -> None:
    model, _, rows, pictures = made()
    batch = _batch(rows)
    with torch.no_grad():
        logits, wanted = logits_of(model, batch, patches(pictures))
    lengths = [len(row.ids) for row in rows]
    mask = torch.tensor([[1] * length + [0] * (batch.ids.shape[1] - length) for length in lengths])
    kinds = (batch.ids == model.config.image_token_id).int()
    grid = torch.tensor([[1, 6, 6]] * 3)
    positions, _ = model.model.get_rope_index(batch.ids, kinds, image_grid_thw=grid, attention_mask=mask)
    for number, length in enumerate(lengths):
        assert torch.equal(positions[:, number, :length], batch.positions[:, number, :length])
    pixel_values = patches(pictures).reshape(-1, patches(pictures).shape[-1])
    with torch.no_grad():
        theirs = model(
            input_ids=batch.ids, attention_mask=mask, pixel_values=pixel_values, image_grid_thw=grid, mm_token_type_ids=kinds
        ).logits
    chosen = theirs[:, :-1][batch.learned[:, 1:]]
    assert torch.allclose(logits, chosen, atol=1e-4)
    assert wanted.tolist() == [token for row in rows for token in row.ids[row.answer :]]


def test_half_precision_arithmetic_runs_as_on_an_accelerator() -> None:
    model, _, rows, pictures = made()
    exact = loss_of(model, _batch(rows), patches(pictures))
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss_of(model, _batch(rows), patches(pictures))
    rough.backward()
    assert abs(rough.item() - exact.item()) < 0.1


def test_an_epoch_has_every_row_once_and_each_epoch_another_order() -> None:
    rows = [Row(np.full(3 + number % 5, number), np.zeros((3, 3 + number % 5), int), 1, np.array([], np.int64)) for number in range(50)]
    feed = batches(rows, 8, seed=3)
    epochs = [[int(one) for _ in range(7) for one in next(feed).ids[:, 0]] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0] != epochs[1]
