"""``tagstream offline towers``: what is trained offline becomes what is served, as directories that ``tagstream bundle build`` takes.

``export`` fits the linear channel and the two towers to a dataset and writes ``linear/``, ``two_tower/`` (``models/spaces.py`` loads them)
and ``merge.json``, the weights of the channels chosen on pseudo-cold notes among those that serve. ``evaluate`` measures the written
directories, not the objects that they came from, on the notes held out.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from rich.console import Console

from models.roles import TagEncoder
from offline import recall_baselines as baselines
from offline.choose_recall import Chosen, choose
from offline.recall_data import load_dataset
from offline.recall_metrics import summarise
from offline.recall_task import Protocol, Task, make_task, whole_task
from offline.served_recall import SERVED_OPTION, Say, drawn_queries, judge_served, serve_task
from offline.write_spaces import DIMENSION, load_spaces, write_spaces
from schemas.commands import LateGroup
from schemas.errors import BadSetting

COMMANDS = {
    "data": "offline.towers_data:data",
    "train": "offline.train_command:train",
    "export": "offline.export_spaces:export",
    "evaluate": "offline.export_spaces:evaluate",
}
FIT_FILE = "fit.json"
EVALUATED = ("linear", "two_tower", "tag_index_idf", "merge")


@click.group(cls=LateGroup, table=COMMANDS)
def towers() -> None:
    """Trains the learned channels and writes them as they serve.

    Example: tagstream offline towers export data/notes-and-interactions --out runs/spaces
    """


def evaluate_spaces(task: Task, directory: Path, encoder: TagEncoder, k: int, queries: Sequence[int], *, say: Say) -> dict[str, Any]:
    """Figures of written spaces, and of their merge with the weights beside them, on a task's queries through ``recall()``."""
    served = serve_task(task, encoder, *load_spaces(directory, encoder), queries)
    reader = task.reader[np.asarray(queries)]
    return {name: summarise(judge_served(served, name, queries, k, say), reader, k) for name in EVALUATED}


DIRECTORY = click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
PROTOCOL = click.option("--protocol", type=click.Choice(["random", "time"]), help="Which notes are cold; as in evaluate-recall.")


@click.command(epilog="Example: tagstream offline towers export data/citeulike-a --out runs/spaces")
@DIRECTORY
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write linear/, two_tower/ and merge.json.")
@click.option("--hold-out", is_flag=True, help="Leave the protocol's cold notes out of training, to evaluate what is written.")
@PROTOCOL
@click.option("--choose/--no-choose", "choosing", default=True, show_default=True, help="Choose settings on pseudo-cold notes.")
@click.option("--dimension", type=click.IntRange(min=2), default=DIMENSION, show_default=True, help="Of the linear channel's vectors.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the training, and which notes are pseudo-cold.")
def export(*, directory: Path, out: Path, hold_out: bool, protocol: Protocol | None, choosing: bool, dimension: int, seed: int) -> None:
    """Train the linear channel and the two towers on a dataset, and write them as they serve.

    DIRECTORY is a finished run of `towers train`, or a dataset in any layout of evaluate-recall, which is then trained on with the options
    given and without checkpoints.
    """
    from models.encoder import load_tag_encoder
    from offline.tower_run import export_run, is_run
    from schemas.settings import load

    if out.exists():
        raise BadSetting(f"--out: {out} exists; name a new directory or remove it")
    console = Console(stderr=True)
    if is_run(directory):
        (out.parent).mkdir(parents=True, exist_ok=True)
        export_run(directory, out)
        console.print(f"written: {out}/linear, {out}/two_tower, {out}/merge.json", highlight=False)
        return
    encoder = load_tag_encoder(load())
    data = load_dataset(directory)
    asked = protocol or protocol_of(data.name)
    task = make_task(data, asked) if hold_out else whole_task(data, asked)
    console.print(f"{data.name}: {len(task.training)} actions on {len(task.warm)} notes, {len(task.cold)} notes held out", highlight=False)
    chosen = Chosen()
    if choosing:
        vectors = baselines.encode_tags(task, encoder)
        chosen = choose(task, vectors, 50, seed, lambda line: console.print(line, highlight=False))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_spaces(task, encoder, chosen, out, dimension=dimension, seed=seed)
    (out / FIT_FILE).write_bytes(msgspec.json.encode({"dataset": data.name, "protocol": asked, "held_out": hold_out, "chosen": chosen}))
    console.print(f"written: {out}/linear, {out}/two_tower, {out}/merge.json", highlight=False)


@click.command(epilog="Example: tagstream offline towers evaluate data/citeulike-a runs/spaces --json")
@DIRECTORY
@click.argument("spaces", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--k", type=click.IntRange(min=1), default=50, show_default=True, help="Length of the ranking looked at.")
@SERVED_OPTION
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate(directory: Path, spaces: Path, k: int, most: int, as_json: bool) -> None:
    """Measure written spaces on the notes that were held out of their training.

    The queries go through the recall code that serves, over stores in memory, as in `evaluate-recall`.
    """
    from models.encoder import load_tag_encoder
    from schemas.settings import load

    fit = json.loads((spaces / FIT_FILE).read_text())
    data = load_dataset(directory)
    if not fit["held_out"] or fit["dataset"] != data.name:
        raise BadSetting(f"SPACES: {spaces} was trained on all of {fit['dataset']}; export with --hold-out from {directory}")
    task = make_task(data, fit["protocol"])
    console = Console(stderr=True)
    queries = drawn_queries(task, most)
    methods = evaluate_spaces(task, spaces, load_tag_encoder(load()), k, queries, say=lambda line: console.print(line, highlight=False))
    report = {"dataset": data.name, "protocol": fit["protocol"], "queries": len(queries), "methods": methods}
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, row in methods.items():
        low, high = row[f"recall@{k}_ci95"]
        click.echo(f"{name:14} recall@{k} {row[f'recall@{k}']:.3f} [{low:.3f}, {high:.3f}]")


def protocol_of(dataset: str) -> Protocol:
    """The protocol that is usual for a dataset."""
    return "time" if dataset == "movielens-tmdb" else "random"
