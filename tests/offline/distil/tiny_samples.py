"""A few samples with pictures, of which tiny models learn."""

from pathlib import Path

import numpy as np

from models.roles import SeenImage, Spoken, Utterance
from models.vlm_model import VlmModel
from offline.distil.recipes import Lora
from offline.distil.training import Training
from offline.tag_data.samples import Sample, Told, keep_picture, write_samples
from schemas.events import NoteEvent, Product

IMAGE_PIXELS = 56 * 56 * 2
RNG = np.random.default_rng(4)


def note(number: int, **fields: object) -> NoteEvent:
    known = {"type": "note.published", "note_id": f"n{number}", "author_id": "a", "occurred_at": 1, "published_at": 1, "category": "shoes"}
    return NoteEvent(**(known | fields))  # type: ignore[arg-type]


def samples_in(directory: Path, count: int = 8) -> Path:
    """Notes with none, one or two pictures of different shapes; the first two have none."""
    tags = [Told("running shoes", "shoe_type", "title"), Told("wide toe box", "fit", "body")]
    made = []
    for number in range(count):
        shapes = [(64, 64), (40, 90)][: max(0, number % 4 - 1)]
        pictures = [
            keep_picture(directory, SeenImage(RNG.integers(0, 255, (*shape, 3), dtype=np.uint8), "image", place))
            for place, shape in enumerate(shapes)
        ]
        speech = [Spoken(Utterance("so light", 0, 1), "audio", 0)] if number % 2 else []
        words = note(number, title="Running shoes", body="a wide toe box " * (1 + number % 3), products=[Product(name="Zephyr 2")])
        made.append(Sample(note=words, pictures=pictures, speech=speech, tags=tags[: 1 + number % 2]))
    write_samples(directory / "samples.jsonl", made)
    return directory / "samples.jsonl"


def saved(model: VlmModel, directory: Path) -> str:
    """The model as a directory that can be opened."""
    model.model.save_pretrained(directory)
    model.processor.save_pretrained(directory)
    return str(directory)


def training(**options: object) -> Training:
    plain: dict[str, object] = {
        "tuning": "full", "learning_rate": 3e-3, "epochs": 2, "batch": 2, "accumulate": 1, "max_tokens": 2000,
        "image_pixels": IMAGE_PIXELS, "images": 8, "style": "compact", "lora": Lora(rank=4, alpha=8, dropout=0), "device": "cpu",
        "log_steps": 1, "save_steps": 3,
    }  # fmt: skip
    return Training(**(plain | options))  # type: ignore[arg-type]


def silent(_: str) -> None:
    """Says nothing."""
