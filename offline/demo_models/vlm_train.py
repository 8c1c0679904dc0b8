"""Trains the demo model: answers only, AdamW, one cosine. Steps, seed and data fix the result on one machine with one version of torch."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct
from transformers import AutoProcessor

from models.handbook import load_handbook
from models.vlm_card import CARD_FILE, VlmCard
from models.vlm_model import VlmModel
from offline.demo_models.intern_build import make_intern
from offline.demo_models.vlm_build import MERGE, PATCH, Size, make_model
from offline.demo_models.vlm_data import open_pictures
from offline.demo_models.vlm_forward import loss_of
from offline.demo_models.vlm_held_out import HeldOut
from offline.demo_models.vlm_judge import judge
from offline.demo_models.vlm_rows import Batch, batches, patches, read_rows, tiles
from offline.whole_file import whole_file
from schemas.errors import BadSetting, MissingPrerequisite

CHECKPOINT = "checkpoint.pt"
Say = Callable[[str], None]


class Training(Struct, frozen=True, kw_only=True):
    """``steps``: 0 = as many as fit into ``minutes``; ``judge_at``: shares of the training after which ``judged`` of the
    held-out notes are tagged; ``held_out``: how many are tagged at the end, 0 = all."""

    steps: int = 6000
    minutes: float = 0.0
    batch: int = 128
    rate: float = 1.5e-3
    warm_up: int = 200
    decay: float = 0.05
    seed: int = 7
    device: str = "cpu"
    judge_at: tuple[float, ...] = (0.3, 0.6)
    judged: int = 100
    held_out: int = 0
    save_every: int = 1000


def train(data: Path, out: Path, training: Training, say: Say, *, resume: bool = False) -> dict[str, Any]:
    """Trains on a prepared directory and writes model, processor, card and figures into ``out``; returns the figures.

    Raises:
        MissingPrerequisite: when the directory is not prepared.
        BadSetting: when it was prepared with another prompt or handbook.
    """
    facts = _facts(data)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(training.seed)
    size = msgspec.convert(facts["size"], Size)
    processor = AutoProcessor.from_pretrained(data / "model")
    intern = facts["plan"]["family"] == "internvl"
    model = (make_intern if intern else make_model)(processor.tokenizer, size, facts["image_pixels"]).to(training.device)
    shown = tiles if intern else patches
    side = int(facts["image_pixels"] ** 0.5) // (PATCH * MERGE)
    rows = read_rows(data, model.config.image_token_id, side)
    pixels = open_pictures(data / "pictures.npz")
    stored = torch.from_numpy(np.stack(pixels)).to(training.device) if pixels else torch.zeros(0)
    held_out = msgspec.json.decode((data / "held_out.json").read_bytes(), type=list[HeldOut])
    if training.held_out:
        held_out = held_out[:: -(-len(held_out) // training.held_out)]
    run = _Run(model, training, out, say)
    if resume:
        run.load()
    say(f"{len(rows)} rows, {len(pixels)} pictures, {sum(p.numel() for p in model.parameters()):,} parameters")
    feed = batches(rows + [row for row in rows if len(row.pictures)], training.batch, training.seed)  # pictures are learned slowest
    for _ in range(run.step):
        next(feed)
    judged: list[dict[str, Any]] = []
    while (progress := run.progress()) < 1:
        batch = next(feed)
        patched = shown(stored[batch.pictures.to(stored.device)]) if len(batch.pictures) else stored[:0]
        run.learn(_to(batch, training.device), patched, progress)
        if len(judged) < len(training.judge_at) and progress >= training.judge_at[len(judged)]:
            began = time.monotonic()
            figures = judge(_wrapped(model, processor, facts), held_out[:: max(1, len(held_out) // training.judged)], pixels)
            judged.append({"step": run.step, **figures})
            say(f"step {run.step}: {json.dumps(figures)}")
            run.pause(time.monotonic() - began)
    run.save()
    card = _export(model, processor, facts, out)
    final = judge(_wrapped(model, processor, facts), held_out, pixels) if held_out else {}
    figures = {
        "held_out": final, "during": judged, "steps": run.step, "last_loss": round(run.loss, 4), "train_seconds": round(run.spent, 1),
        "parameters": sum(p.numel() for p in model.parameters()), "version": card.version, "facts": facts,
        "training": msgspec.to_builtins(training),
    }  # fmt: skip
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    say(json.dumps(final))
    return figures


class _Run:
    """Weights, optimiser and clock of one training."""

    def __init__(self, model: Any, training: Training, out: Path, say: Say) -> None:
        self.step, self.spent = 0, 0.0
        self._loss = torch.tensor(float("nan"))
        self._model, self._training, self._path, self._say = model, training, out / CHECKPOINT, say
        plain = [p for p in model.parameters() if p.ndim < 2]
        decayed = [p for p in model.parameters() if p.ndim >= 2]
        groups = [{"params": decayed, "weight_decay": training.decay}, {"params": plain, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=training.rate, betas=(0.9, 0.98), fused=training.device != "cpu")
        self._began = time.monotonic()

    @property
    def loss(self) -> float:
        """Of the last batch."""
        return float(self._loss)

    def progress(self) -> float:
        """Share of the training that is done."""
        self.spent = time.monotonic() - self._began
        by_steps = self.step / self._training.steps if self._training.steps else 0.0
        by_time = self.spent / (60 * self._training.minutes) if self._training.minutes else 0.0
        return max(by_steps, by_time)

    def pause(self, seconds: float) -> None:
        """Takes time spent on judging off the clock."""
        self._began += seconds

    def learn(self, batch: Batch, patched: torch.Tensor, progress: float) -> None:
        """One step."""
        model, training = self._model, self._training
        rate = training.rate * min((self.step + 1) / training.warm_up, 0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        model.train()
        with torch.autocast("cuda", torch.bfloat16, enabled=training.device.startswith("cuda")):
            loss = loss_of(model, batch, patched)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._loss = loss.detach()
        if self.step % 50 == 0 or self.step == 1:
            self._say(f"step {self.step}: loss {self.loss:.4f}, rate {rate:.1e}, {self.spent:.0f} s, {100 * progress:.0f} %")
        if self.step % training.save_every == 0:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint; it is whole or it is the one before."""
        held = {"step": self.step, "model": self._model.state_dict(), "optimiser": self._optimiser.state_dict(), "spent": self.spent}
        with whole_file(self._path) as part:
            torch.save(held, part)

    def load(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        if self._path.is_file():
            kept = torch.load(self._path, map_location=self._training.device, weights_only=True)
            self._model.load_state_dict(kept["model"])
            self._optimiser.load_state_dict(kept["optimiser"])
            self.step = kept["step"]
            self._began -= kept["spent"]
            self._say(f"goes on from step {self.step}")


def _facts(data: Path) -> dict[str, Any]:
    from models.prompts import STYLES

    path = data / "facts.json"
    if not path.is_file():
        raise MissingPrerequisite(f"{path} is missing; prepare it with `tagstream offline demo-models vlm-data --out {data}`")
    facts: dict[str, Any] = json.loads(path.read_text())
    for what, ours in (("prompt", STYLES[facts["style"]].version), ("handbook", load_handbook().version)):
        if facts[what] != ours:
            raise BadSetting(f"{path}: was prepared with {what} {facts[what]}, this installation has {ours}; prepare it anew")
    return facts


def _to(batch: Batch, device: str) -> Batch:
    return Batch(*(one.to(device, non_blocking=True) for one in batch))


def _wrapped(model: Any, processor: Any, facts: dict[str, Any], version: str = "training") -> VlmModel:
    model.eval()
    return VlmModel(model, processor, _card(facts, version), "the demo model")


def _card(facts: dict[str, Any], version: str) -> VlmCard:
    return VlmCard(
        style=facts["style"], prompt=facts["prompt"], handbook=facts["handbook"], image_pixels=facts["image_pixels"], version=version
    )


def _export(model: Any, processor: Any, facts: dict[str, Any], out: Path) -> VlmCard:
    """Half precision, the processor, and the card."""
    import copy

    half = copy.deepcopy(model).half().to("cpu")
    half.save_pretrained(out / "model")
    processor.save_pretrained(out / "model")
    weights = (out / "model" / "model.safetensors").read_bytes()
    card = _card(facts, hashlib.blake2b(weights, digest_size=6).hexdigest())
    (out / "model" / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    return card
