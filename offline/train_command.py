"""``tagstream offline towers train``: the command, in one process or as many as torchrun starts."""

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, get_args

import click
import msgspec
import torch
from msgspec.structs import replace
from rich.console import Console
from torch import distributed as dist

from offline.choose_recall import Chosen
from offline.export_spaces import protocol_of
from offline.recall_data import detect_layout, load_dataset
from offline.recall_task import Protocol, make_task, whole_task
from offline.tower_batches import Share
from offline.tower_run import Asked, Say, data_hash, go_on, prepare, resume
from offline.write_spaces import DIMENSION
from schemas.errors import BadSetting

PREPARING = timedelta(hours=24)


@click.command(epilog="Example: tagstream offline towers train data/citeulike-a --hold-out --out runs/citeulike")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The run: a new directory, or one to go on with."
)
@click.option("--hold-out/--all", "held_out", default=False, show_default=True, help="Leave the protocol's cold notes out, to evaluate.")
@click.option("--protocol", type=click.Choice(get_args(Protocol)), help="Which notes are cold; as in evaluate-recall.")
@click.option("--choose/--no-choose", "choosing", default=True, show_default=True, help="Choose settings on pseudo-cold notes.")
@click.option("--spec", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="JSON of settings, instead of choosing.")
@click.option("--epochs", type=click.IntRange(min=0), help="Stop after so many, to go on later; by default all of the settings.")
@click.option("--dimension", type=click.IntRange(min=2), default=DIMENSION, show_default=True, help="Of the linear channel's vectors.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn, and which notes are pseudo-cold.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def train(
    *, directory: Path, out: Path, held_out: bool, protocol: Protocol | None, choosing: bool, spec: Path | None, epochs: int | None,
    dimension: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Train the learned channels, with a checkpoint after each epoch; called again it goes on where it was killed.

    DIRECTORY holds a dataset in any layout of evaluate-recall, or what `towers data` collected: then each action is learned from with its
    reader's history as it was just before it. --spec takes {"tower": {...}, "linear": {...}, "content": {...}, "weights":
    {...}}; what it leaves out has its default. For several GPUs or processes: torchrun --nproc-per-node 2 -m tagstream offline towers train
    ... A GPU is used where there is one. Watch it with: tensorboard --logdir RUN/tensorboard
    """
    console = Console(stderr=True)
    with _processes() as (share, device):
        leader = share.rank == 0
        say: Say = functools.partial(console.print, highlight=False)
        console.quiet = not leader
        if leader:
            given = _given(spec)
            wanted = Asked("", "", "", protocol or "random", held_out, seed, dimension, choosing and given is None, given)
            _prepare(directory, out, Split(protocol, held_out), wanted, say)
        if share.world > 1:
            dist.barrier()
        training, manifest = resume(out, device=device, share=share)
        last = manifest.chosen.tower.epochs if epochs is None else min(epochs, manifest.chosen.tower.epochs)
        say(f"{training.epochs} of {manifest.chosen.tower.epochs} epochs done; {share.world} processes, {device}")
        go_on(out, training, last, say, leader=leader)
    if leader and as_json:
        click.echo(json.dumps({"run": str(out), "epochs": training.epochs, "of": manifest.chosen.tower.epochs, "device": device}))


class Split(NamedTuple):
    """Which notes are held out."""

    protocol: Protocol | None
    held_out: bool


def _prepare(directory: Path, out: Path, split: Split, wanted: Asked, say: Say) -> None:
    """Begins the run, or checks that it was begun with the same. ``wanted``: with the settings of the command, not yet the data's."""
    from models.encoder import load_tag_encoder
    from schemas.settings import load

    layout = detect_layout(directory)
    data = load_dataset(directory, layout)
    kind = split.protocol or protocol_of(data.name)
    task = make_task(data, kind) if split.held_out else whole_task(data, kind)
    say(f"{data.name}: {len(task.training)} actions on {len(task.warm)} notes, {len(task.cold)} notes held out")
    encoder = load_tag_encoder(load())
    asked = replace(wanted, dataset=data.name, data_hash=data_hash(data), encoder_version=encoder.version, protocol=kind)
    prepare(out, task, asked, encoder, say, examples=directory if layout == "examples" else None)


def _given(spec: Path | None) -> Chosen | None:
    if spec is None:
        return None
    try:
        return msgspec.json.decode(spec.read_bytes(), type=_Given).settings()
    except msgspec.DecodeError as error:
        raise BadSetting(f"--spec: {spec}: {error}") from None


class _Given(Chosen, frozen=True, forbid_unknown_fields=True):
    """As ``Chosen``, but an unknown name is an error."""

    def settings(self) -> Chosen:
        return Chosen(*(getattr(self, name) for name in Chosen.__struct_fields__))


@contextmanager
def _processes() -> Iterator[tuple[Share, str]]:
    """This process's share under torchrun, or all of it, and its device."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu"
    if world == 1:
        yield Share(), device
        return
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PREPARING)
    try:
        yield Share(rank, world), device
        dist.barrier()  # nobody goes while another still talks
    finally:
        dist.destroy_process_group()
