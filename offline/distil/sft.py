"""Supervised fine-tuning (section 3.3): a base model learns to write the reference tags after the tagger's own prompt."""

import time
from itertools import islice
from pathlib import Path
from typing import Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from models.handbook import load_handbook
from models.prompts import Prompts
from offline.distil.collate import Collator, dataset_of
from offline.distil.manifest import Manifest, started_with
from offline.distil.rows import RowMaker
from offline.distil.training import OrderByLength, Say, Training, arguments, digest_of_weights, lora_of, open_base, run, save_trained, speed
from offline.tag_data.samples import read_samples

SHOWN = ("loss", "mean_token_accuracy", "learning_rate")


class AnswerTrainer(SFTTrainer):
    """TRL's, with an order of samples that a run can go on in."""

    def _get_train_sampler(self, train_dataset: Any = None) -> OrderByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        update = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return OrderByLength(list(rows["length"]), update, self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: the run's manifest says it all."""


def sft(model: str, data: Path, out: Path, training: Training, say: Say) -> dict[str, Any]:
    """Trains ``out/model``; a run that was killed goes on, a finished one is left as it is. Returns the manifest.

    Args:
        model: a local directory or a hub id.
        data: a file of samples with their tags.
        out: directory of the run.
        training: its options.
        say: is told how it goes.

    Raises:
        BadSetting: when another run stands at ``out``, or no sample is left.
    """
    weights = digest_of_weights(Path(model)) if Path(model).is_dir() else ""
    manifest = Manifest(out, started_with("sft", model, weights, data, training))
    if manifest.figures:
        say(f"{out} is finished")
        return manifest.write(manifest.figures)
    base = open_base(model, training)
    manifest.write()
    handbook = load_handbook()
    prompts = Prompts(handbook, training.style, training.max_tags, base.specials)
    maker = RowMaker(base, prompts, data.parent, image_pixels=training.image_pixels, images=training.images, max_tokens=training.max_tokens)
    rows = maker.rows((sample, [sample.tags]) for sample in islice(read_samples(data), training.limit or None))
    say(f"{len(rows.taken):,} samples; left out: {dict(rows.dropped) or 'none'}")
    collator = Collator(base, data.parent, training.image_pixels, training.cache_mb << 20)
    config = SFTConfig(**arguments(training, out), completion_only_loss=True, dataset_kwargs={"skip_prepare_dataset": True})
    base.model.train()
    trainer = AnswerTrainer(
        model=base.model,
        args=config,
        train_dataset=dataset_of(rows.taken),
        data_collator=collator,
        processing_class=base.processor,
        peft_config=lora_of(training),
    )
    began, cpu_began = time.monotonic(), time.process_time()
    logged = run(trainer, out, say, SHOWN)
    spent, cpu = time.monotonic() - began, time.process_time() - cpu_began
    card = save_trained(trainer, base, training, (prompts.style.version, handbook.version), out)
    losses = [one["loss"] for one in logged if "loss" in one]
    seen = len(rows.taken) * training.epochs
    return manifest.write(
        {
            "samples": len(rows.taken),
            "dropped": dict(rows.dropped),
            "updates": trainer.state.global_step,
            "loss": {"first": losses[0], "last": losses[-1]} if losses else {},
            **speed(seen, spent, cpu, collator.seconds),
            "version": card.version if card else "",
        }
    )
