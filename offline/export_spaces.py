"""``tagstream offline towers``: what is trained offline becomes what is served, as directories that ``tagstream bundle build`` takes.

``export`` fits the linear channel and the two towers to a dataset and writes ``linear/``, ``two_tower/`` (``models/spaces.py`` loads them)
and ``merge.json``, the weights of the channels chosen on pseudo-cold notes among those that serve. ``evaluate`` measures the written
directories, not the objects that they came from, on the notes held out.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from models.roles import ActedNote, Space, TagEncoder
from models.spaces import load_space
from offline import recall_baselines as baselines
from offline.choose_recall import Chosen, choose, heuristics, standardise
from offline.recall_data import load_dataset
from offline.recall_metrics import Ranker, judge, judge_scores, summarise
from offline.recall_task import Protocol, Task, make_task, whole_task
from offline.write_spaces import DIMENSION, SERVED, write_spaces
from schemas.commands import LateGroup
from schemas.errors import BadSetting

COMMANDS = {
    "data": "offline.towers_data:data",
    "train": "offline.train_command:train",
    "export": "offline.export_spaces:export",
    "evaluate": "offline.export_spaces:evaluate",
}
FIT_FILE = "fit.json"
LEARNED_SPACES = ("linear", "two_tower")


@click.group(cls=LateGroup, table=COMMANDS)
def towers() -> None:
    """Trains the learned channels and writes them as they serve.

    Example: tagstream offline towers export data/notes-and-interactions --out runs/spaces
    """


def space_ranker(task: Task, space: Space) -> Ranker:
    """Scores of the task's candidates by a written space: notes by their tags, readers by their histories, as online."""
    notes = space.notes([task.data.tags[note] for note in task.cold])

    def rank(profiles: Any) -> NDArray[np.float32]:
        return np.asarray(space.readers(histories_of(task, profiles)) @ notes.T, np.float32)

    return rank


def histories_of(task: Task, profiles: Any) -> list[list[ActedNote]]:
    """Profiles, sparse (readers, notes), as the histories that are read online."""
    histories = []
    for row in range(profiles.shape[0]):
        mine = slice(profiles.indptr[row], profiles.indptr[row + 1])
        histories.append(
            [
                ActedNote(task.data.notes[note], float(weight), task.data.tags[note])
                for note, weight in zip(profiles.indices[mine], profiles.data[mine], strict=True)
            ]
        )
    return histories


def evaluate_spaces(task: Task, directory: Path, encoder: TagEncoder, k: int) -> dict[str, Any]:
    """Figures of written spaces, and of their merge with the weights beside them, on a task's cold notes."""
    return {name: summarise(judge(ranker, task, k), task.reader, k) for name, ranker in _rankers(task, directory, encoder).items()}


def served_figures(task: Task, directory: Path, encoder: TagEncoder, k: int, count: int, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Figures of ``count`` of the queries through ``recall()`` itself; ``same_by_matrix``: recall of the merge on the same queries."""
    from offline.served_recall import judge_served, serve_task

    total = task.profiles.shape[0]
    queries = np.sort(np.random.default_rng(0).permutation(total)[:count])
    spaces = {name: load_space(directory / name, encoder) for name in LEARNED_SPACES}
    served = serve_task(task, spaces, _weights(directory), encoder)
    found = judge_served(task, served, encoder, queries.tolist(), k, say=say)
    scores = _rankers(task, directory, encoder)["merge"](task.profiles[queries])
    same = judge_scores(scores, task.targets[queries], k)[:, 0].mean()
    return {"queries": len(queries), **found, "same_by_matrix": round(float(same), 4)}


def _weights(directory: Path) -> dict[str, float]:
    weights: dict[str, float] = json.loads((directory / "merge.json").read_text())["weights"]
    return weights


def _rankers(task: Task, directory: Path, encoder: TagEncoder) -> dict[str, Ranker]:
    """The written spaces, the index, and their merge."""
    rankers = {name: space_ranker(task, load_space(directory / name, encoder)) for name in LEARNED_SPACES}
    rankers |= {"tag_index_idf": heuristics(task, baselines.encode_tags(task, encoder))["tag_index_idf"]}
    weights = _weights(directory)

    def merged(profiles: Any) -> NDArray[np.float32]:
        parts = [np.float32(weight) * standardise(rankers[name](profiles)) for name, weight in weights.items()]
        return np.asarray(np.sum(parts, axis=0), np.float32)

    rankers["merge"] = merged
    return rankers


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
        chosen = choose(task, vectors, 50, seed, lambda line: console.print(line, highlight=False), among=frozenset(SERVED))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_spaces(task, encoder, chosen, out, dimension=dimension, seed=seed)
    (out / FIT_FILE).write_bytes(msgspec.json.encode({"dataset": data.name, "protocol": asked, "held_out": hold_out, "chosen": chosen}))
    console.print(f"written: {out}/linear, {out}/two_tower, {out}/merge.json", highlight=False)


@click.command(epilog="Example: tagstream offline towers evaluate data/citeulike-a runs/spaces --json")
@DIRECTORY
@click.argument("spaces", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--k", type=click.IntRange(min=1), default=50, show_default=True, help="Length of the ranking looked at.")
@click.option("--served", type=click.IntRange(min=0), default=500, show_default=True, help="Queries also put through recall() itself.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate(directory: Path, spaces: Path, k: int, served: int, as_json: bool) -> None:
    """Measure written spaces on the notes that were held out of their training.

    Each space and the merge score all cold notes. A sample of the queries also goes through the recall code that serves, over stores in
    memory.
    """
    from models.encoder import load_tag_encoder
    from schemas.settings import load

    fit = json.loads((spaces / FIT_FILE).read_text())
    data = load_dataset(directory)
    if not fit["held_out"] or fit["dataset"] != data.name:
        raise BadSetting(f"SPACES: {spaces} was trained on all of {fit['dataset']}; export with --hold-out from {directory}")
    task = make_task(data, fit["protocol"])
    encoder = load_tag_encoder(load())
    report = {"dataset": data.name, "protocol": fit["protocol"], "methods": evaluate_spaces(task, spaces, encoder, k)}
    if served:
        console = Console(stderr=True)
        report["served"] = served_figures(task, spaces, encoder, k, served, say=lambda line: console.print(line, highlight=False))
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, row in report["methods"].items():
        low, high = row[f"recall@{k}_ci95"]
        click.echo(f"{name:14} recall@{k} {row[f'recall@{k}']:.3f} [{low:.3f}, {high:.3f}]")
    if served:
        row, (low, high) = report["served"], report["served"][f"recall@{k}_ci95"]
        said = f"{row['queries']} queries; all candidates scored: {row['same_by_matrix']:.3f}"
        click.echo(f"{'by recall()':14} recall@{k} {row[f'recall@{k}']:.3f} [{low:.3f}, {high:.3f}] ({said})")


def protocol_of(dataset: str) -> Protocol:
    """The protocol that is usual for a dataset."""
    return "time" if dataset == "movielens-tmdb" else "random"
