"""What SFT and DPO share: options, the base model, the trainers' arguments, checkpoints to go on from, and the model that comes out."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from msgspec import Struct
from peft import LoraConfig, PeftModel
from torch.utils.data import Sampler
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, PrinterCallback, TrainerCallback

from models.vlm_card import CARD_FILE, VlmCard
from models.vlm_model import VlmModel, open_vlm
from offline.distil.recipes import Lora, Tuning
from schemas.errors import BadSetting, MissingPrerequisite

MEGA = 16  # updates whose samples are sorted by length together
ADAPTER, WEIGHTS, MODEL, CHECKPOINTS = "adapter", "weights", "model", "checkpoints"
Say = Callable[[str], None]


class Training(Struct, frozen=True, kw_only=True):
    """Everything that a run's weights depend on, beside model and data. ``style``: of the prompts; ``warm_up``: share of the updates;
    ``workers``, ``cache_mb``: processes that prepare batches, and room for what each prepared. ``save_steps``, ``log_steps``: updates."""

    tuning: Tuning
    learning_rate: float
    epochs: float
    batch: int
    accumulate: int
    max_tokens: int
    image_pixels: int
    images: int
    style: str
    lora: Lora
    seed: int = 7
    limit: int = 0
    max_tags: int = 10
    warm_up: float = 0.03
    decay: float = 0.0
    save_steps: int = 200
    log_steps: int = 10
    device: Literal["auto", "cpu"] = "auto"
    workers: int = 0
    cache_mb: int = 2048
    beta: float = 0.1
    sft_weight: float = 0.0

    @property
    def on_cpu(self) -> bool:
        """Whether no GPU is used."""
        return self.device == "cpu" or not torch.cuda.is_available()


def open_base(name: str, training: Training) -> VlmModel:
    """The model to train, in main memory: the trainer moves it. Weights are float32, but those that LoRA leaves alone on a GPU.

    Raises:
        BadSetting: when it cannot be loaded or tuned so.
    """
    if training.tuning == "qlora":
        return _quantised(name)
    dtype = "float32" if training.tuning == "full" or training.on_cpu else "bfloat16"
    return open_vlm(name, "cpu", dtype)


def _quantised(name: str) -> VlmModel:
    try:
        import_module("bitsandbytes")
    except ImportError:
        raise BadSetting("--tuning qlora needs bitsandbytes: pip install 'tagstream[qlora]', or use --tuning lora") from None
    from transformers import AutoProcessor

    four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForImageTextToText.from_pretrained(name, quantization_config=four_bit, dtype=torch.bfloat16)
    return VlmModel(model, processor, name=name)


def lora_of(training: Training) -> LoraConfig | None:
    """The adapter; None for a full fine-tune."""
    if training.tuning == "full":
        return None
    lora = training.lora
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets, bias="none", task_type="CAUSAL_LM"
    )


def arguments(training: Training, out: Path) -> dict[str, Any]:
    """What the configurations of both trainers are given. TRL's own ``max_length`` would cut answers off without a word."""
    cuda = not training.on_cpu
    return {
        "output_dir": str(out / CHECKPOINTS),
        "per_device_train_batch_size": training.batch,
        "gradient_accumulation_steps": training.accumulate,
        "learning_rate": training.learning_rate,
        "num_train_epochs": training.epochs,
        "lr_scheduler_type": "cosine",
        "warmup_steps": training.warm_up,  # below 1 it is a share
        "weight_decay": training.decay,
        "logging_steps": training.log_steps,
        "save_strategy": "steps",
        "save_steps": training.save_steps,
        "save_total_limit": 2,
        "seed": training.seed,
        "bf16": cuda,
        "gradient_checkpointing": cuda,
        "use_cpu": not cuda,
        "dataloader_num_workers": training.workers,
        "dataloader_pin_memory": cuda,
        "remove_unused_columns": False,
        "max_length": None,
        "report_to": "tensorboard",
        "disable_tqdm": True,
    }


class OrderByLength(Sampler[int]):
    """Each epoch another order, in which the samples of an update are about as long as each other; the same whenever it is asked for, so
    that a run that goes on sees what it would have seen."""

    def __init__(self, lengths: list[int], update: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._update = update
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(len(self._lengths))
        updates = []
        for first in range(0, len(order), self._update * MEGA):
            mega = order[first : first + self._update * MEGA]
            mega = mega[np.argsort(-self._lengths[mega], kind="stable")]
            updates += [mega[at : at + self._update] for at in range(0, len(mega), self._update)]
        rest = [one for one in updates if len(one) < self._update]
        full = [one for one in updates if len(one) == self._update]
        yield from (int(number) for place in rng.permutation(len(full)) for number in full[place])
        yield from (int(number) for one in rest for number in one)


class Teller(TrainerCallback):  # type: ignore[misc]
    """Says what the trainer logs, and keeps it."""

    def __init__(self, say: Say, shown: tuple[str, ...]) -> None:
        self._say = say
        self._shown = shown

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """See ``transformers.TrainerCallback``."""
        found = [f"{name} {logs[name]:.4g}" for name in self._shown if logs and name in logs]
        if found and state.is_world_process_zero:
            self._say(f"update {state.global_step} of {state.max_steps}: {', '.join(found)}")


def run(trainer: Any, out: Path, say: Say, shown: tuple[str, ...]) -> list[dict[str, float]]:
    """Trains, from the last whole checkpoint where there is one; returns all that was logged, earlier runs' too."""
    trainer.remove_callback(PrinterCallback)  # it prints on stdout
    trainer.add_callback(Teller(say, shown))
    last = last_checkpoint(out / CHECKPOINTS)
    if last is not None:
        say(f"goes on from {last.name}")
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    logged: list[dict[str, float]] = trainer.state.log_history
    return logged


def speed(samples: float, seconds: float, cpu: float, preparing: float) -> dict[str, float]:
    """Of the training proper, in this process; a run that went on counts what it did itself over all samples."""
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "samples_per_s": round(samples / seconds, 2),
        "preparing_share": round(preparing / seconds, 3),
    }


def last_checkpoint(directory: Path) -> Path | None:
    """The newest that was written to its end: the trainer's state is what it writes last."""
    found = [path for path in directory.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def save_trained(trainer: Any, base: VlmModel, training: Training, prompts: tuple[str, str], out: Path) -> VlmCard | None:
    """Writes ``out/model``: weights with the adapter merged in, processor, card; a LoRA's adapter too. It appears whole.

    Args:
        trainer: after training.
        base: the model that was opened to be trained.
        training: its options.
        prompts: versions of the prompt's style and of the handbook.
        out: the run.

    Returns:
        The card; None in a process that is not the first of several.
    """
    weights = out / (WEIGHTS if training.tuning == "full" else ADAPTER)
    trainer.save_model(str(weights))
    if not trainer.accelerator.is_main_process:
        return None
    part = out / f"{MODEL}.part"
    shutil.rmtree(part, ignore_errors=True)
    if training.tuning == "full" and trainer.is_fsdp_enabled:  # tied weights were gathered apart and stand there twice
        base.processor.save_pretrained(weights)
        open_vlm(str(weights), "cpu", str(base.model.dtype).removeprefix("torch.")).model.save_pretrained(part)
        shutil.rmtree(weights)
    elif training.tuning == "full":
        weights.rename(part)
        (part / "training_args.bin").unlink(missing_ok=True)
    else:
        plain = open_vlm(base.name, "cpu", "bfloat16" if training.tuning == "qlora" else str(base.model.dtype).removeprefix("torch."))
        merged: Any = PeftModel.from_pretrained(plain.model, str(weights)).merge_and_unload()
        merged.save_pretrained(part)
    base.processor.save_pretrained(part)
    card = VlmCard(
        style=training.style,
        prompt=prompts[0],
        handbook=prompts[1],
        image_pixels=training.image_pixels,
        version=digest_of_weights(part),
    )
    (part / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    shutil.rmtree(out / MODEL, ignore_errors=True)
    part.rename(out / MODEL)
    return card


def digest_of_weights(directory: Path) -> str:
    """Changes with any weight."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_directory(model: Path) -> Path:
    """The model in a run's directory, or the directory itself.

    Raises:
        MissingPrerequisite: when there is none.
    """
    for found in (model / MODEL, model):
        if (found / "config.json").is_file():
            return found
    raise MissingPrerequisite(f"{model} holds no model; train one with `tagstream offline sft --out {model}`")
