"""The training loop: equal over processes, its losses as one sum, its parts masked; and that each start and loss learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import distributed as dist
from torch import multiprocessing

from models.tag_content import ContentSpec
from models.towers import contrastive_loss
from offline.recall_baselines import encode_tags
from offline.recall_content import build_content
from offline.recall_linear import LinearSpec, fit_linear
from offline.recall_task import make_task
from offline.tower_batches import Batch, Share, Source, TowerSpec, epoch_batches, make_step
from offline.tower_training import TowerLoss, Training
from offline.train_towers import Towers, source_of, start_towers, tag_rows
from schemas.errors import BadSetting
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community

SPEC = TowerSpec(
    start="random", dimension=12, hidden=8, epochs=2, batch=17, warm_up=2, average=0.5, candidates=40, bce=1.0, contrastive=0.5, decay=1e-3
)


def begun(spec: TowerSpec) -> tuple[Towers, Source]:
    task = make_task(community(), "random")
    vectors = encode_tags(task, HashingEncoder())
    content, fitted = build_content(task, vectors, ContentSpec(buckets=4))
    linear = fit_linear(task, content, LinearSpec(rank=16))
    return start_towers(linear, spec, 0, tag_rows(task, fitted, vectors)), source_of(linear)


def trained(spec: TowerSpec, share: Share) -> tuple[list[float], dict[str, torch.Tensor]]:
    towers, source = begun(spec)
    training = Training(towers.reader, towers.note, source, spec, 3, share=share)
    return [training.run_epoch().loss for _ in range(spec.epochs)], training.reader.state_dict()


def one_of_two(rank: int, store: str, answers: multiprocessing.Queue) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    losses, state = trained(SPEC, Share(rank, 2))
    if rank == 0:
        answers.put((losses, {name: value.numpy() for name, value in state.items()}))
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    running = multiprocessing.spawn(one_of_two, (str(tmp_path / "store"), answers), nprocs=2, join=False)
    losses, state = answers.get(timeout=120)
    while not running.join():
        pass
    want, alone = trained(SPEC, Share())
    assert losses == pytest.approx(want, rel=1e-5)
    for name, value in alone.items():
        assert np.allclose(state[name], value.numpy(), atol=1e-4), name


def test_shares_of_a_batch_have_the_mean_gradient_of_the_whole() -> None:
    towers, source = begun(SPEC)
    loss = TowerLoss(towers.reader, towers.note, SPEC)
    batch = next(epoch_batches(source, 17, np.random.default_rng(0)))

    def gradients(share: Share) -> list[torch.Tensor]:
        loss.zero_grad()
        loss(make_step(source, batch, SPEC, np.random.default_rng(5), share)).backward()
        return [parameter.grad.clone() for parameter in loss.parameters() if parameter.grad is not None]

    whole, parts = gradients(Share()), [gradients(Share(rank, 3)) for rank in range(3)]
    assert any(gradient.abs().sum() > 0 for gradient in whole)
    for at, gradient in enumerate(whole):
        assert torch.allclose(sum(part[at] for part in parts) / 3, gradient, atol=1e-5)


def test_own_batches_are_what_is_trained_on() -> None:
    towers, source = begun(SPEC)
    given = [Batch(source.history[:5], source.history[5:10])] * 2
    seen = list(epoch_batches(source._replace(batches=lambda generator: iter(given)), 3, np.random.default_rng(0)))
    assert seen == given
    training = Training(towers.reader, towers.note, source._replace(batches=lambda generator: iter(given)), SPEC, 0)
    assert np.isfinite(training.run_epoch().loss)


def test_accidental_hits_are_no_negatives() -> None:
    _, source = begun(SPEC)
    batch = next(epoch_batches(source, 17, np.random.default_rng(0)))
    step = make_step(source, batch, replace(SPEC, candidates=10**6), np.random.default_rng(1))
    assert torch.equal(step.hidden, torch.from_numpy(batch.kept.toarray() > 0))
    assert step.log_q is None
    assert step.pairs is not None
    assert step.pairs.hidden.any() and not step.pairs.hidden.diagonal().any()
    readers, notes = torch.randn(17, 6), torch.randn(17, 6)
    other = readers.clone()
    clashing = step.pairs.hidden[:1].nonzero()[:, 1] if step.pairs.hidden[0].any() else torch.zeros(0, dtype=torch.int64)
    other[clashing] = torch.randn(len(clashing), 6)
    one, two = (contrastive_loss(some, notes[:1], 0.1, 0, step.pairs.hidden[:1]) for some in (readers, other))
    assert torch.allclose(one, two)


@pytest.mark.parametrize("start", ["closed_form", "encoder", "random"])
@pytest.mark.parametrize("losses", [{"softmax": 1.0}, {"softmax": 0.0, "bce": 1.0, "contrastive": 0.5}], ids=["softmax", "bce+cl"])
def test_the_loss_falls_from_every_start(start: str, losses: dict[str, float]) -> None:
    plain = {"softmax": 0.0, "bce": 0.0, "contrastive": 0.0} | losses
    spec = replace(SPEC, start=start, rate=3e-3, temperature=0.1, candidates=4096, **plain)
    towers, source = begun(spec)
    training = Training(towers.reader, towers.note, source, spec, 0)
    seen = [training.run_epoch().loss for _ in range(12)]
    assert np.mean(seen[-3:]) < 0.95 * seen[0]


def test_encoder_start_brings_tags_of_like_vectors_together_and_needs_them() -> None:
    task = make_task(community(), "random")
    vectors = encode_tags(task, HashingEncoder())
    content, fitted = build_content(task, vectors, ContentSpec(buckets=4))
    linear = fit_linear(task, content, LinearSpec(rank=16))
    spec = replace(SPEC, start="encoder", dimension=64)
    rows = tag_rows(task, fitted, vectors)
    weight = start_towers(linear, spec, 0, rows).note.tags.weight.detach().numpy()[: len(fitted.columns)]
    known = rows[: len(fitted.columns)]
    assert np.allclose(weight @ weight.T, known @ known.T, atol=0.05)
    with pytest.raises(BadSetting, match="encoder"):
        start_towers(linear, spec)
