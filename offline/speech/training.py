"""The training loop: CTC over the text, cross entropy over the four tags, one schedule over steps or seconds."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from msgspec import Struct
from torch import Tensor
from torch.nn import functional

from models.transcriber.distance import error_rate
from models.transcriber.files import CMVN, TORCH
from models.transcriber.front_end import write_cmvn
from models.transcriber.rich import parse_rich
from offline.speech.batches import Batch, Corpus, Heard, drawn, heard
from offline.speech.network import PIECES, QUERIES, build, config, encode, open_pieces, train_pieces, write_config
from offline.speech.render import LANGUAGES
from offline.whole_file import whole_file

FIGURES, RESUME = "figures.json", "training.pt"
WARM_UP = 0.06
CLIP = 5.0
TELL_EVERY = 100
SAVE_EVERY_S = 60.0
EVAL_BATCH = 25
BLANK = 0
PARTS: tuple[Literal["test"], Literal["trial"]] = ("test", "trial")
Tell = Callable[[str], None]


class TrainSpec(Struct, frozen=True, kw_only=True):
    """``seconds`` 0: ``steps`` alone say when it is over; else whichever comes first, and the schedule follows the nearer end, so that
    the result depends on the machine's speed. ``workers``: processes that put sentences together; the result does not depend on them.
    ``sizes``: other layers than the usual ones."""

    seed: int = 1
    steps: int = 6000
    seconds: float = 0.0
    batch: int = 96
    rate: float = 1e-3
    device: str = "cpu"
    workers: int = 0
    sizes: dict[str, Any] | None = None


class Figures(Struct, frozen=True, kw_only=True):
    """What came of it. ``cer``: by language, on whole sentences by voices that did not train, from features in torch; ``trial_cer``: on
    other such sentences and voices, to choose settings by."""

    seed: int
    steps: int
    seconds: float
    device: str
    parameters: int
    clauses: int
    cer: dict[str, float]
    test_sentences: dict[str, int]
    trial_cer: dict[str, float]


@dataclass
class _Run:
    """What goes on over a kill."""

    model: Any
    pieces: Any
    optimizer: torch.optim.Optimizer
    noise: torch.Generator
    step: int = 0
    spent: float = 0.0
    trials: list[Heard] = field(default_factory=list)


def train(data: Path, out: Path, spec: TrainSpec, tell: Tell, *, resume: bool = False) -> Figures:
    """Trains on rendered speech and writes the model's files and ``figures.json`` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(spec.seed)
    if spec.device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = True
    if not (out / PIECES).exists():
        train_pieces(out / PIECES)
    pieces, shape = open_pieces(out / PIECES), config(spec.sizes)
    corpus = Corpus(data, pieces, spec.device)
    write_config(out, shape)
    write_cmvn(out / CMVN, corpus.cmvn)
    state = _start(spec, shape, pieces, out, resume=resume)
    parameters = sum(item.numel() for item in state.model.parameters())
    tell(f"{parameters:,} parameters, {corpus.clauses:,} clauses, {len(corpus.banks) / 360_000:.2f} h of speech")
    tests, state.trials = ([heard(data, language, corpus.cmvn, part) for language in LANGUAGES] for part in PARTS)
    _loop(state, corpus, spec, out / RESUME, tell)
    torch.save({name: value.cpu() for name, value in state.model.state_dict().items()}, out / TORCH)
    figures = Figures(
        seed=spec.seed,
        steps=state.step,
        seconds=round(state.spent, 1),
        device=_device(spec.device),
        parameters=parameters,
        clauses=corpus.clauses,
        cer=_rates(state, tests, spec.device),
        test_sentences={test.language: len(test.texts) for test in tests},
        trial_cer=_rates(state, state.trials, spec.device),
    )
    (out / FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    (out / RESUME).unlink(missing_ok=True)
    return figures


def _start(spec: TrainSpec, shape: dict[str, Any], pieces: Any, out: Path, *, resume: bool) -> _Run:
    model = build(shape, pieces).to(spec.device)
    on_gpu = spec.device.startswith("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=on_gpu)
    noise = torch.Generator(spec.device)
    noise.manual_seed(spec.seed)
    state = _Run(model, pieces, optimizer, noise)
    path = out / RESUME
    if not (resume and path.exists()):
        return state
    held = torch.load(path, map_location=spec.device, weights_only=False)
    model.load_state_dict(held["model"])
    optimizer.load_state_dict(held["optimizer"])
    noise.set_state(held["noise"].cpu())
    torch.set_rng_state(held["torch"].cpu())
    state.step, state.spent = held["step"], held["spent"]
    return state


def _loop(state: _Run, corpus: Corpus, spec: TrainSpec, path: Path, tell: Tell) -> None:
    steps, on_gpu = range(state.step, spec.steps), spec.device.startswith("cuda")
    batches = drawn(corpus.sentences, spec.seed, spec.batch, steps, spec.workers, pinned=on_gpu)
    began, saved, total = time.monotonic() - state.spent, time.monotonic(), torch.zeros(2, device=spec.device)
    state.model.train()
    while (done := _done(state.step, state.spent, spec)) < 1.0:
        for group in state.optimizer.param_groups:
            group["lr"] = spec.rate * _schedule(done)
        text, tag = loss(state.model, corpus, next(batches), state.noise)
        state.optimizer.zero_grad(set_to_none=True)
        (text + tag).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), CLIP)
        state.optimizer.step()
        state.step += 1
        total += torch.stack([text.detach(), tag.detach()])
        state.spent = time.monotonic() - began
        if state.step % TELL_EVERY == 0:
            means = (total / TELL_EVERY).tolist()
            total.zero_()
            tell(f"step {state.step}, {state.spent:.0f} s: text {means[0]:.3f}, tags {means[1]:.4f}")
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(state, path)
            rates = _rates(state, state.trials, spec.device)
            tell(f"trial: character error rate {', '.join(f'{rate:.2%} ({language})' for language, rate in rates.items())}")
            state.model.train()
            saved = time.monotonic()


def _done(step: int, spent: float, spec: TrainSpec) -> float:
    return max(step / spec.steps, spent / spec.seconds if spec.seconds else 0.0)


def _schedule(done: float) -> float:
    """Share of the highest rate: up in a straight line, then down along a cosine."""
    if done < WARM_UP:
        return done / WARM_UP + 1e-3
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) + 1e-3


def _save(state: _Run, path: Path) -> None:
    held = {
        "model": state.model.state_dict(), "optimizer": state.optimizer.state_dict(), "noise": state.noise.get_state(),
        "torch": torch.get_rng_state(), "step": state.step, "spent": state.spent,
    }  # fmt: skip
    with whole_file(path) as part:
        torch.save(held, part)


def loss(model: Any, corpus: Corpus, batch: Batch, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Loss of the text per piece (CTC), and of the four tags (cross entropy)."""
    features = corpus.features(batch, noise)
    frames, targets, styles = (part.to(features.device, non_blocking=True) for part in (batch.frames, batch.targets, batch.styles))
    logits = model.ctc.ctc_lo(encode(model, features, frames, styles)).float()
    tag = functional.cross_entropy(logits[:, :4].reshape(-1, logits.shape[-1]), targets[:, :4].reshape(-1))
    sizes = batch.sizes - 4
    scores = logits[:, 4:].log_softmax(-1).transpose(0, 1)
    each = functional.ctc_loss(scores, targets[:, 4:].clamp(min=0), batch.frames, sizes, blank=BLANK, reduction="none", zero_infinity=True)
    return each.sum() / max(1, int(sizes.sum())), tag


def _rates(state: _Run, heard_ones: list[Heard], device: str) -> dict[str, float]:
    return {one.language: round(cer(state.model, one, state.pieces, device), 4) for one in heard_ones}


@torch.no_grad()
def cer(model: Any, test: Heard, pieces: Any, device: str) -> float:
    """Character error rate of greedy decoding."""
    model.eval()
    found: list[str] = []
    for at in range(0, len(test.features), EVAL_BATCH):
        items = test.features[at : at + EVAL_BATCH]
        frames = torch.tensor([len(item) for item in items], device=device)
        speech = torch.nn.utils.rnn.pad_sequence(items, batch_first=True).to(device)
        styles = torch.full_like(frames, QUERIES["withitn"])
        paths = model.ctc.ctc_lo(encode(model, speech, frames, styles)).argmax(-1).cpu()
        for path, length in zip(paths, frames.tolist(), strict=True):
            kept = torch.unique_consecutive(path[: length + 4])
            found.append(parse_rich(pieces.decode(kept[kept != BLANK].tolist())).text)
    return error_rate(zip(test.texts, found, strict=True))


def _device(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else device
