"""``tagstream offline sweep-recall``: what a setting of the learned channels is worth on pseudo-cold notes. The defaults come from here.

Only training actions are looked at, as in ``offline/choose_recall.py``; the log of what was tried is offline/LOG.md.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import click
import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console

from offline.choose_recall import QUERIES_MAX, Chosen
from offline.evaluate_recall import Say
from offline.recall_baselines import encode_tags
from offline.recall_content import build_content
from offline.recall_data import load_dataset
from offline.recall_linear import fit_linear
from offline.recall_metrics import judge
from offline.recall_task import Protocol, Task, make_task, within
from offline.train_towers import tower_ranker, train_towers

PARTS = ("content", "linear", "tower")


def with_setting(chosen: Chosen, name: str, value: str) -> Chosen:
    """``chosen`` with one setting changed, named as ``linear.l2``.

    Raises:
        click.BadParameter: for an unknown name or a value of the wrong kind.
    """
    part, _, setting = name.partition(".")
    if part not in PARTS or setting not in getattr(chosen, part).__struct_fields__:
        known = [f"{part}.{setting}" for part in PARTS for setting in getattr(chosen, part).__struct_fields__]
        raise click.BadParameter(f"{name} is none of {', '.join(known)}")
    current = getattr(chosen, part)
    try:
        changed = msgspec.convert(msgspec.to_builtins(current) | {setting: value}, type(current), strict=False)
    except msgspec.ValidationError as error:
        raise click.BadParameter(f"{name}={value}: {error}") from None
    return replace(chosen, **{part: changed})


class Trials(NamedTuple):
    """Where settings are tried: a pseudo-cold task, its tags' vectors, seed and length of ranking."""

    pseudo: Task
    tag_vectors: NDArray[np.float32]
    seed: int
    k: int


def try_settings(trials: Trials, chosen: Chosen) -> dict[str, float]:
    """Recall and NDCG of the channels that the settings change, on up to ``QUERIES_MAX`` queries."""
    pseudo, tag_vectors, seed, k = trials
    queries = np.sort(np.random.default_rng(seed).permutation(pseudo.profiles.shape[0])[:QUERIES_MAX])
    seen = pseudo._replace(profiles=pseudo.profiles[queries], targets=pseudo.targets[queries], reader=pseudo.reader[queries])
    content, _ = build_content(pseudo, tag_vectors, chosen.content)
    linear = fit_linear(pseudo, content, chosen.linear)
    towers = train_towers(linear, chosen.tower, seed)
    answer: dict[str, float] = {}
    for name, ranker in (("linear", linear.ranker()), ("two_tower", tower_ranker(towers, pseudo.cold))):
        recall, ndcg, _ = judge(ranker, seen, k).mean(axis=0)
        answer |= {f"{name}_recall@{k}": round(float(recall), 4), f"{name}_ndcg@{k}": round(float(ndcg), 4)}
    return answer


def sweep(trials: Trials, settings: Sequence[tuple[str, str]], say: Say) -> list[dict[str, Any]]:
    """The defaults, then each setting alone."""
    rows: list[dict[str, Any]] = []
    for name, value in [("defaults", ""), *settings]:
        chosen = Chosen() if name == "defaults" else with_setting(Chosen(), name, value)
        rows.append({"setting": name, "value": value} | try_settings(trials, chosen))
        say("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return rows


@click.command("sweep-recall")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("settings", nargs=-1, metavar="NAME=VALUE[,VALUE]...")
@click.option("--protocol", type=click.Choice(get_args(Protocol)), default="random", show_default=True, help="Which notes are cold.")
@click.option("--k", type=click.IntRange(min=1), default=50, show_default=True, help="Length of the ranking looked at.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which notes are pseudo-cold, and the training's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def sweep_recall(*, directory: Path, settings: tuple[str, ...], protocol: Protocol, k: int, seed: int, as_json: bool) -> None:
    """Tries settings of the learned channels one at a time on notes held out of the training actions.

    Example: tagstream offline sweep-recall data/citeulike-a linear.l2=5,10,20 tower.temperature=0.02,0.07
    """
    from models.encoder import load_tag_encoder
    from schemas.settings import load

    asked = [(name, value) for one in settings for name, _, values in [one.partition("=")] for value in values.split(",")]
    for name, value in asked:
        with_setting(Chosen(), name, value)
    console = Console(stderr=True)
    pseudo = within(make_task(load_dataset(directory), protocol), seed)
    trials = Trials(pseudo, encode_tags(pseudo, load_tag_encoder(load())), seed, k)
    rows = sweep(trials, asked, lambda line: console.print(line, highlight=False))
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
