"""A run of ``tagstream offline towers train``: a directory that a killed training goes on from and that ``towers export`` makes spaces of.

| file | what |
|---|---|
| ``asked.json`` | data, split and settings asked for; a run goes on only with the same |
| ``chosen.json`` | settings of all parts, as given or chosen on pseudo-cold notes |
| ``inputs/`` | content of the notes trained on, and histories |
| ``examples/`` | for data of ``towers data``: histories as they stood before each action (``offline/example_batches.py``) |
| ``linear/`` | the linear channel as it serves |
| ``run.json`` | the manifest; there once all of the above is |
| ``checkpoint.pt``, ``epochs.jsonl`` | the towers after the last epoch, and figures of each |
| ``tensorboard/`` | the same figures, and those of choosing |
"""

import hashlib
import importlib.metadata
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from scipy import sparse

from models.closed_form import Content
from models.roles import TagEncoder
from models.tag_content import load_content
from models.towers import Tower, TowerShape
from models.two_tower_space import NOTES_FILE
from offline import recall_baselines as baselines
from offline.choose_recall import Chosen, choose
from offline.example_batches import ExampleBatches, write_arrays
from offline.recall_content import build_content
from offline.recall_data import RecallData
from offline.recall_linear import fit_linear
from offline.recall_task import Protocol, Task
from offline.tower_batches import Batches, Share, Source
from offline.tower_training import EpochFigures, Training
from offline.train_towers import source_of, start_towers, tag_rows
from offline.whole_file import whole_directory, write_json, write_whole
from offline.write_spaces import DIMENSION, Notes, write_linear, write_merge, write_towers
from schemas.errors import BadSetting, MissingPrerequisite

ASKED, CHOSEN, RUN, CHECKPOINT, EPOCHS = "asked.json", "chosen.json", "run.json", "checkpoint.pt", "epochs.jsonl"
K = 50
LIBRARIES = ("tagstream", "torch", "numpy", "scipy", "onnxruntime")
Say = Callable[[str], None]


class Asked(Struct, frozen=True):
    """What a run was asked for. ``data_hash``: of tags and actions; ``encoder_version``: of the tag encoder; ``given``: settings
    that are not chosen."""

    dataset: str
    data_hash: str
    encoder_version: str
    protocol: Protocol
    held_out: bool
    seed: int = 0
    dimension: int = DIMENSION
    choosing: bool = True
    given: Chosen | None = None


class RunManifest(Struct, frozen=True):
    """``run.json``. ``reader``, ``note``: sizes of the towers; ``own``: weight of a reader's content beside the table of notes;
    ``created_at``: epoch ms."""

    asked: Asked
    chosen: Chosen
    reader: TowerShape
    note: TowerShape
    own: float
    command: list[str]
    versions: dict[str, str]
    created_at: int


def is_run(directory: Path) -> bool:
    """Whether a training was begun there."""
    return (directory / ASKED).is_file()


def data_hash(data: RecallData) -> str:
    """Of everything that training sees."""
    hashed = hashlib.blake2b(msgspec.msgpack.encode([data.notes, data.readers, data.tags, data.confidences]), digest_size=16)
    for column in data.actions:
        hashed.update(column.tobytes())
    return hashed.hexdigest()


def prepare(run: Path, task: Task, asked: Asked, encoder: TagEncoder, say: Say, *, examples: Path | None = None) -> None:
    """Everything before the first epoch; what is there already is not done again.

    Args:
        examples: what ``towers data`` wrote, to train on moments; without it parts of the histories are hidden.

    Raises:
        BadSetting: when the run was begun with something else, or no example is left to train on.
    """
    _begin(run, asked)
    if (run / RUN).is_file():
        return
    vectors = baselines.encode_tags(task, encoder)
    chosen = _chosen(run, task, asked, vectors, say)
    content, fitted = build_content(task, vectors, chosen.content)
    linear = fit_linear(task, content, chosen.linear)
    say(f"linear channel fitted to {len(task.warm)} notes")
    shutil.rmtree(run / "linear", ignore_errors=True)
    write_linear(linear, Notes([task.data.notes[row] for row in task.warm], fitted, encoder.version), run / "linear", asked.dimension)
    start = start_towers(linear, chosen.tower, asked.seed, tag_rows(task, fitted, vectors) if chosen.tower.start == "encoder" else None)
    source = source_of(linear)
    _write_inputs(run / "inputs", source)
    if examples is not None:
        last = int(task.data.actions.at[task.training].max()) if asked.held_out and len(task.training) else None
        count = write_arrays(examples, [task.data.notes[row] for row in task.warm], run / "examples", last)
        if not count:
            raise BadSetting(f"{examples}: no action has a history before it; collect more with `tagstream offline towers data`")
        say(f"{count} training examples")
    Training(start.reader, start.note, source, chosen.tower, asked.seed).save(run / CHECKPOINT)
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    manifest = RunManifest(asked, chosen, start.reader.shape, start.note.shape, start.own, sys.argv, versions, time.time_ns() // 1_000_000)
    write_json(run / RUN, manifest)


def resume(run: Path, *, device: str = "cpu", share: Share = Share(), batches: Batches | None = None) -> tuple[Training, RunManifest]:  # noqa: B008
    """The training of a prepared run as it stood after its last whole epoch.

    Args:
        device, share: see ``Training``.
        batches: instead of the run's own.
    """
    manifest = read_run(run)
    source = _read_inputs(run / "inputs", manifest.own, batches)
    if batches is None and (run / "examples").is_dir():
        own = ExampleBatches(run / "examples", source.history.shape[1], manifest.chosen.tower.batch)
        source = source._replace(batches=own)
    spec = manifest.chosen.tower
    training = Training(Tower(manifest.reader), Tower(manifest.note), source, spec, manifest.asked.seed, device=device, share=share)
    training.load(run / CHECKPOINT)
    return training, manifest


def go_on(run: Path, training: Training, epochs: int, say: Say, *, leader: bool = True) -> None:
    """Trains up to a number of epochs; the leader writes a checkpoint after each."""
    recording: AbstractContextManager[Any] = _scalars(run) if leader else nullcontext()
    with recording as scalars:
        while training.epochs < epochs:
            figures = training.run_epoch()
            if not leader:
                continue
            training.save(run / CHECKPOINT)
            _record(run / EPOCHS, figures)
            for name, value in (("loss", figures.loss), ("rate", figures.rate), ("examples_per_s", figures.examples_per_s)):
                scalars.add_scalar(f"train/{name}", value, figures.epoch)
            scalars.flush()
            say(f"epoch {figures.epoch} of {epochs}: loss {figures.loss:.4f}, {figures.examples_per_s:.0f} examples/s")


def read_run(run: Path) -> RunManifest:
    """The manifest.

    Raises:
        MissingPrerequisite: when there is none yet.
    """
    try:
        return msgspec.json.decode((run / RUN).read_bytes(), type=RunManifest)
    except OSError:
        raise MissingPrerequisite(f"{run}: the run is not prepared; `tagstream offline towers train` goes on with it") from None


def export_run(run: Path, out: Path) -> None:
    """Writes a finished run's spaces under ``out``, which must not exist; complete or not at all.

    Raises:
        MissingPrerequisite: when epochs are left.
    """
    training, manifest = resume(run)
    epochs = manifest.chosen.tower.epochs
    if training.epochs < epochs:
        raise MissingPrerequisite(f"{run}: {training.epochs} of {epochs} epochs are done; `tagstream offline towers train` goes on with it")
    ids = msgspec.json.decode((run / "linear" / NOTES_FILE).read_bytes(), type=list[str])
    notes = Notes(ids, load_content(run / "linear"), manifest.asked.encoder_version)
    content = _read_inputs(run / "inputs", manifest.own, None).content
    asked = manifest.asked
    fit = {"dataset": asked.dataset, "protocol": asked.protocol, "held_out": asked.held_out, "chosen": manifest.chosen}
    with whole_directory(out) as made:
        shutil.copytree(run / "linear", made / "linear")
        write_towers(training.reader, training.note, content, manifest.own, notes, directory=made / "two_tower")
        write_merge(manifest.chosen, made)
        (made / "fit.json").write_bytes(msgspec.json.encode(fit))


def _begin(run: Path, asked: Asked) -> None:
    if is_run(run):
        before = msgspec.json.decode((run / ASKED).read_bytes(), type=Asked)
        for name in Asked.__struct_fields__:
            if getattr(before, name) != getattr(asked, name):
                raise BadSetting(f"--out: {run} was begun with {name} {getattr(before, name)}, not {getattr(asked, name)}; name a new one")
    elif run.exists() and any(run.iterdir()):
        raise BadSetting(f"--out: {run} is no run of this command; name a new directory")
    else:
        run.mkdir(parents=True, exist_ok=True)
        write_json(run / ASKED, asked)


def _chosen(run: Path, task: Task, asked: Asked, vectors: Any, say: Say) -> Chosen:
    if asked.given is not None or not asked.choosing:
        return asked.given or Chosen()
    if (run / CHOSEN).is_file():
        return msgspec.json.decode((run / CHOSEN).read_bytes(), type=Chosen)
    with _scalars(run) as scalars:

        def curve(epochs: int, alone: float, merged: float) -> None:
            scalars.add_scalar("pseudo_cold/two_tower", alone, epochs)
            scalars.add_scalar("pseudo_cold/with_linear", merged, epochs)

        chosen = choose(task, vectors, K, asked.seed, say, curve=curve)
    write_json(run / CHOSEN, chosen)
    return chosen


def _write_inputs(directory: Path, source: Source) -> None:
    directory.mkdir(exist_ok=True)
    sparse.save_npz(directory / "tags.npz", source.content.tags.tocsr())
    sparse.save_npz(directory / "history.npz", source.history.tocsr())
    np.save(directory / "dense.npy", source.content.dense)


def _read_inputs(directory: Path, own: float, batches: Batches | None) -> Source:
    content = Content(sparse.load_npz(directory / "tags.npz"), np.load(directory / "dense.npy"))
    return Source(content, sparse.load_npz(directory / "history.npz"), own, batches)


def _record(path: Path, figures: EpochFigures) -> None:
    """Adds an epoch's line, in place of one from before a kill."""
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["epoch"] < figures.epoch] if path.is_file() else []
    write_whole(path, "".join(f"{line}\n" for line in [*lines, json.dumps(figures._asdict())]))


def _scalars(run: Path) -> AbstractContextManager[Any]:
    from torch.utils.tensorboard import SummaryWriter

    writer: AbstractContextManager[Any] = SummaryWriter(str(run / "tensorboard"))
    return writer
