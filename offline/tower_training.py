"""The training loop: epochs that can be taken up again to the bit, in one process or several, on CPU or GPU.

All that is drawn in an epoch comes from the seed and the epoch's number, so a checkpoint needs no generator's state. Several processes
(torchrun) share each batch's readers; the mean of their gradients is the gradient of the whole batch, so their number changes nothing but
rounding. Candidates are scored by every process.
"""

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.towers import Tower, bce_loss, contrastive_loss, softmax_loss
from offline.tower_batches import Share, Source, Step, TowerSpec, epoch_batches, make_step
from offline.whole_file import whole_file


class EpochFigures(NamedTuple):
    """One epoch. ``epoch``: number done; ``loss``: mean over batches; ``rate``: learning rate at its end; ``examples_per_s``: readers."""

    epoch: int
    loss: float
    rate: float
    examples_per_s: float


class TowerLoss(nn.Module):
    """Equation 7, L = BCE + lambda_1 CL + lambda_2 |theta|^2, the last being the optimiser's weight decay; beside it the softmax."""

    def __init__(self, reader: Tower, note: Tower, spec: TowerSpec) -> None:
        super().__init__()
        self.reader = reader
        self.note = note
        self._spec = spec

    def forward(self, step: Step) -> Tensor:
        """This process's part: the mean over all processes is the loss of the whole batch."""
        spec = self._spec
        share = step.targets.shape[0] / step.size * step.world
        total = step.targets.new_zeros(())
        if spec.softmax or spec.bce:
            scores = self.reader(step.readers) @ self.note(step.notes).T
            if spec.softmax:
                total = total + spec.softmax * share * softmax_loss(scores, step.targets, step.hidden, spec.temperature, step.log_q)
            if spec.bce:
                total = total + spec.bce * step.world * bce_loss(scores, step.targets, step.hidden, spec.temperature, step.sums)
        if step.pairs is not None:
            pairs = step.pairs
            tags = self.reader.tags_alone(pairs.readers), self.note.tags_alone(pairs.notes)
            total = total + spec.contrastive * share * contrastive_loss(*tags, spec.temperature, pairs.first, pairs.hidden)
        return total


class Training:
    """Two towers under training. ``epochs``: done so far; ``reader``, ``note``: as they would be kept, the moving average.

    Args:
        reader, note: where it starts.
        source: what it learns from.
        seed: of all that is drawn.
        device: ``cpu`` or ``cuda:0``.
        share: which process of how many; with several, ``torch.distributed`` must have been started.
    """

    def __init__(
        self,
        reader: Tower,
        note: Tower,
        source: Source,
        spec: TowerSpec,
        seed: int,
        *,
        device: str = "cpu",
        share: Share = Share(),  # noqa: B008
    ) -> None:
        self.epochs = 0
        self._source, self._spec, self._seed = source, spec, seed
        self._device, self._share = torch.device(device), share
        self._loss = TowerLoss(reader, note, spec).to(self._device)
        self._parallel: nn.Module = self._loss
        if share.world > 1:
            self._parallel = DistributedDataParallel(self._loss, find_unused_parameters=not (spec.softmax or spec.bce))
        self._averaged = AveragedModel(self._loss, multi_avg_fn=get_ema_multi_avg_fn(spec.average))  # type: ignore[no-untyped-call]
        self._averaged.update_parameters(self._loss)
        self._optimiser = torch.optim.Adam(self._loss.parameters(), lr=spec.rate, weight_decay=spec.decay)
        steps = spec.warm_up
        self._schedule = torch.optim.lr_scheduler.LinearLR(self._optimiser, 1 / max(steps, 1), total_iters=steps)

    @property
    def reader(self) -> Tower:
        """The reader's tower as it would be kept."""
        kept = self._averaged.module.reader
        assert isinstance(kept, Tower)
        return kept

    @property
    def note(self) -> Tower:
        """The notes' tower as it would be kept."""
        kept = self._averaged.module.note
        assert isinstance(kept, Tower)
        return kept

    def run_epoch(self) -> EpochFigures:
        """One more epoch. A batch with fewer readers than processes is left out."""
        generator = np.random.default_rng([self._seed, self.epochs])
        begun, losses, examples = time.monotonic(), [0.0], 0
        for batch in epoch_batches(self._source, self._spec.batch, generator):
            step = make_step(self._source, batch, self._spec, generator, self._share)
            if step.size < self._share.world:
                continue
            losses.append(self.run_step(step))
            examples += step.size
        self.epochs += 1
        mean = sum(losses) / max(len(losses) - 1, 1)
        rate = float(self._optimiser.param_groups[0]["lr"])
        return EpochFigures(self.epochs, mean, rate, examples / max(time.monotonic() - begun, 1e-9))

    def run_step(self, step: Step) -> float:
        """One step of the optimiser; the loss of the whole batch."""
        self._optimiser.zero_grad(set_to_none=True)
        loss: Tensor = self._parallel(_on(step, self._device))
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        self._averaged.update_parameters(self._loss)
        whole = loss.detach()
        if self._share.world > 1:
            dist.all_reduce(whole)
            whole = whole / self._share.world
        return float(whole)

    def save(self, path: Path) -> None:
        """Writes all that is needed to go on; complete or not at all."""
        state = {
            "epochs": self.epochs,
            "loss": self._loss.state_dict(),
            "averaged": self._averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        with whole_file(path) as part, part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())

    def load(self, path: Path) -> None:
        """Goes on from what ``save`` wrote."""
        state: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
        self._loss.load_state_dict(state["loss"])
        self._averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.epochs = state["epochs"]


def _on(part: Any, device: torch.device) -> Any:
    """Tensors, and named tuples of them, on a device."""
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        return type(part)(*(_on(one, device) for one in part))
    return part
