"""Direct preference optimisation (section 3.3): the SFT model is moved from its own inferior answers towards the references.

The reference model stays what the SFT model is. For a full fine-tune it is a frozen copy, passed to TRL; with LoRA TRL is given the
adapter's configuration and takes the model with the adapter switched off, which is the SFT model, its weights frozen.
"""

import copy
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from models.handbook import load_handbook
from models.prompts import Prompts
from offline.distil.collate import Collator, dataset_of
from offline.distil.manifest import Manifest, started_with
from offline.distil.pairs import PAIRS, Pair, read_pairs
from offline.distil.rows import RowMaker
from offline.distil.training import (
    OrderByLength,
    Say,
    Training,
    arguments,
    digest_of_weights,
    lora_of,
    open_base,
    run,
    save_trained,
    speed,
)

SHOWN = ("loss", "rewards/margins", "rewards/accuracies", "rewards/chosen", "logps/chosen")
FALL = 0.5  # nats below the reference model's, from which a fall is spoken of


class PairTrainer(DPOTrainer):
    """TRL's, with an order of pairs that a run can go on in."""

    def _get_train_sampler(self, train_dataset: Any = None) -> OrderByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        update = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return OrderByLength(list(rows["length"]), update, self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: the run's manifest says it all."""


def dpo(model: Path, pairs: Path, out: Path, training: Training, say: Say) -> dict[str, Any]:
    """Trains ``out/model``; a run that was killed goes on, a finished one is left as it is. Returns the manifest.

    Args:
        model: directory of the SFT model.
        pairs: directory of preference pairs.
        out: directory of the run.
        training: its options; ``beta`` and ``sft_weight`` count here.
        say: is told how it goes.

    Raises:
        BadSetting: when another run stands at ``out``, or no pair is left.
    """
    list(islice(read_pairs(pairs), 1))  # says what is missing before anything is written
    manifest = Manifest(out, started_with("dpo", str(model), digest_of_weights(model), pairs / PAIRS, training))
    if manifest.figures:
        say(f"{out} is finished")
        return manifest.write(manifest.figures)
    base = open_base(str(model), training)
    manifest.write()
    handbook = load_handbook()
    prompts = Prompts(handbook, training.style, training.max_tags, base.specials)
    maker = RowMaker(base, prompts, pairs, image_pixels=training.image_pixels, images=training.images, max_tokens=training.max_tokens)
    taken: list[Pair] = list(islice(read_pairs(pairs), training.limit or None))
    rows = maker.rows((pair.sample, [pair.sample.tags, pair.rejected]) for pair in taken)
    say(f"{len(rows.taken):,} pairs; left out: {dict(rows.dropped) or 'none'}")
    collator = Collator(base, pairs, training.image_pixels, training.cache_mb << 20)
    terms: dict[str, Any] = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, training.sft_weight]} if training.sft_weight else {}
    adapter = lora_of(training)
    base.model.train()
    trainer = PairTrainer(
        model=base.model,
        ref_model=None if adapter else frozen(base.model),
        args=DPOConfig(**arguments(training, out), beta=training.beta, **terms),
        train_dataset=dataset_of(rows.taken),
        data_collator=collator,
        processing_class=base.processor,
        peft_config=adapter,
    )
    began, cpu_began = time.monotonic(), time.process_time()
    logged = run(trainer, out, say, SHOWN)
    spent, cpu = time.monotonic() - began, time.process_time() - cpu_began
    card = save_trained(trainer, base, training, (prompts.style.version, handbook.version), out)
    watched = watch(logged, training.beta)
    say(watched["chosen"]["in_words"])
    return manifest.write(
        {
            "pairs": len(rows.taken),
            "origins": dict(Counter(pair.origin for pair in taken)),
            "dropped": dict(rows.dropped),
            "updates": trainer.state.global_step,
            "reference": "the SFT model with the adapter off" if adapter else "a frozen copy of the SFT model",
            **watched,
            **speed(len(rows.taken) * training.epochs, spent, cpu, collator.seconds),
            "version": card.version if card else "",
        }
    )


def frozen(model: Any) -> Any:
    """A copy that nothing changes."""
    reference = copy.deepcopy(model).eval()
    for parameter in reference.parameters():
        parameter.requires_grad_(False)
    return reference


def watch(logged: list[dict[str, float]], beta: float) -> dict[str, Any]:
    """Margins and what became of the log-probabilities, over the last quarter of what was logged.

    TRL's ``rewards/chosen`` is ``beta`` times the difference to the reference model on the same answers, so the order of the pairs does
    not matter. Both halves of the pair may fall while the margin rises: then the model unlearns the reference answers too.
    """
    steps = [one for one in logged if "rewards/margins" in one]
    if not steps:
        return {
            "margin": {},
            "accuracy": None,
            "chosen": {"shift": None, "fell": None, "in_words": "nothing was logged; lower --log-steps"},
        }
    late = steps[-max(1, len(steps) // 4) :]

    def mean(name: str) -> float:
        return sum(one[name] for one in late) / len(late)

    shift, other = mean("rewards/chosen") / beta, mean("rewards/rejected") / beta
    fell = shift < -FALL
    words = f"log-probability of the chosen answers: {shift:+.2f} nats against the reference model, of the rejected ones {other:+.2f}"
    if fell:
        words += "; THE CHOSEN ONES FELL: try a larger --sft-weight, a smaller --learning-rate or a larger --beta"
    return {
        "margin": {"first": steps[0]["rewards/margins"], "last": mean("rewards/margins")},
        "accuracy": mean("rewards/accuracies"),
        "chosen": {"shift": shift, "rejected_shift": other, "fell": fell, "in_words": words},
    }
