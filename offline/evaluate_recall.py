"""``tagstream offline evaluate-recall``: cold-start recall of every method on one dataset, with intervals, and how the merge was chosen.

What serves is ranked by the recall code that serves (``offline/served_recall.py``); the other methods, which only say what there is to
beat, by matrices (``offline/recall_baselines.py``).
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import click
import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console

from models.roles import NoteTags, TagEncoder
from offline import recall_baselines as baselines
from offline.recall_data import Layout, RecallData, coarse_tags, load_dataset, with_tagged
from offline.recall_metrics import Ranker, judge, unseen
from offline.recall_report import over_best, read_seeds, show, summary_of
from offline.recall_task import SPLIT_SEED, Protocol, Task, among_all, check_leaks, make_task
from offline.served_recall import CHANNELS, SERVED_OPTION, SERVED_QUERIES, Served, drawn_queries, judge_served, serve_task
from schemas.errors import BadSetting

METHODS = (
    "random", "popularity", "tag_index_raw", "tag_index_idf", "bm25", "tfidf_cosine", "encoder_mean", "encoder_text", "tag_embedding",
    "linear", "two_tower", "merge",
)  # fmt: skip
LEARNED = ("linear", "two_tower", "merge")
OPTIONAL = ("encoder_text",)

Candidates = Literal["cold", "all"]
Say = Callable[[str], None]
TOLD = 250
LEAKS_LOOKED_FOR = "cold notes in training or history, targets in profiles, training later than the first action on a cold note"


class Asked(Struct, frozen=True):
    """What is evaluated and how. ``seeds``: of what is drawn, one repeat each; ``served``: queries at most that go through ``recall()``."""

    protocol: Protocol
    k: int = 50
    methods: tuple[str, ...] = tuple(method for method in METHODS if method not in OPTIONAL)
    seeds: tuple[int, ...] = (0,)
    split_seed: int = SPLIT_SEED
    choose: bool = True
    candidates: Candidates = "cold"
    served: int = SERVED_QUERIES


class Evaluation(NamedTuple):
    """One evaluation under way."""

    task: Task
    asked: Asked
    encoder: TagEncoder
    say: Say


def evaluate(data: RecallData, asked: Asked, encoder: TagEncoder, say: Say) -> dict[str, Any]:
    """All figures of one dataset. The split is the protocol's; ``seeds`` repeats what is drawn within the methods."""
    task = make_task(data, asked.protocol, asked.split_seed)
    check_leaks(task)
    queries, readers = task.profiles.shape[0], len(np.unique(task.reader))
    say(f"{data.name}: {queries} queries of {readers} readers, {len(task.cold)} cold and {len(task.warm)} warm notes")
    judged = among_all(task) if asked.candidates == "all" else task
    run = Evaluation(judged, asked, encoder, say)
    figures: dict[str, list[NDArray[np.float64]]] = {}
    for name, ranker in _plain(run):
        figures[name] = [judge(unseen(ranker, judged), judged, asked.k)]
        say(f"{name}: recall@{asked.k} {figures[name][0][:, 0].mean():.4f}")
    served = drawn_queries(judged, asked.served)
    learned = _through_recall(run, served, figures)
    rows = {name: np.asarray(served) if name in CHANNELS else np.arange(queries) for name in asked.methods}
    return {
        "dataset": data.name,
        "protocol": asked.protocol,
        "users": readers,
        "queries": queries,
        "cold_items": len(task.cold),
        "candidates": asked.candidates,
        "leakage": {"looked_for": LEAKS_LOOKED_FOR, "found": 0},
        "through_recall": {"methods": [name for name in asked.methods if name in CHANNELS], "queries": len(served)},
        "methods": {name: summary_of(figures[name], task.reader[rows[name]], asked.k) for name in asked.methods},
        "learned": learned,
    } | _over_best(figures, np.asarray(served), task.reader)


def _over_best(figures: Mapping[str, list[NDArray[np.float64]]], served: NDArray[np.int64], reader: NDArray[np.int64]) -> dict[str, Any]:
    """The merge against the best method without learning, where both were asked for, on the queries that went through ``recall()``."""
    recalls = {name: np.mean(runs, axis=0)[:, 0] for name, runs in figures.items()}
    shared = {name: recall if name in CHANNELS else recall[served] for name, recall in recalls.items()}
    plain = {name: recall for name, recall in shared.items() if name not in LEARNED}
    if "merge" not in shared or not plain:
        return {}
    return {"merge_over_best_heuristic": over_best(shared["merge"], plain, reader[served])}


def _through_recall(run: Evaluation, queries: Sequence[int], figures: dict[str, list[NDArray[np.float64]]]) -> list[dict[str, Any]]:
    """Adds the figures of the methods that serve, those that learn once per seed; says how what is learned came about."""
    from offline.write_spaces import load_spaces

    asked, task = run.asked, run.task
    plain = [name for name in asked.methods if name in CHANNELS and name not in LEARNED]
    learning = [name for name in asked.methods if name in LEARNED]
    learned: list[dict[str, Any]] = []
    for number, seed in enumerate(asked.seeds if learning else ()):
        with tempfile.TemporaryDirectory(prefix="tagstream-") as directory:
            learned.append(_learn(run, seed, Path(directory) / "spaces"))
            served = serve_task(task, run.encoder, *load_spaces(Path(directory) / "spaces", run.encoder), queries)
            _judge(run, served, learning if number else [*plain, *learning], queries, figures)
    if plain and not learning:
        _judge(run, serve_task(task, run.encoder, {}, {}, queries), plain, queries, figures)
    return learned


def _judge(
    run: Evaluation, served: Served, names: Sequence[str], queries: Sequence[int], figures: dict[str, list[NDArray[np.float64]]]
) -> None:
    for name in names:
        figures.setdefault(name, []).append(judge_served(served, name, queries, run.asked.k, run.say))
        run.say(f"{name}: recall@{run.asked.k} {figures[name][-1][:, 0].mean():.4f}")


def _plain(run: Evaluation) -> Iterable[tuple[str, Ranker]]:
    """The methods asked for that do not serve, one at a time."""
    task, encoder = run.task, run.encoder
    plain: Mapping[str, Callable[[], Ranker]] = {
        "random": lambda: baselines.random_ranker(task, 0),
        "popularity": lambda: baselines.popularity(task),
        "bm25": lambda: baselines.bm25(task),
        "tfidf_cosine": lambda: baselines.tfidf_cosine(task),
        "encoder_mean": lambda: baselines.vector_cosine(task, baselines.encode_sequences(task, encoder)),
        "encoder_text": lambda: baselines.vector_cosine(task, baselines.encode_texts(task, encoder)),
    }
    for name in run.asked.methods:
        if name in plain:
            yield name, plain[name]()


def _learn(run: Evaluation, seed: int, out: Path) -> dict[str, Any]:
    """Writes the learned spaces as they serve; says how they came about: settings, weights, seconds."""
    from offline.choose_recall import Chosen, choose
    from offline.write_spaces import write_spaces

    begun = time.monotonic()
    chosen = Chosen()
    if run.asked.choose:
        vectors = baselines.encode_tags(run.task, run.encoder)
        chosen = choose(run.task, vectors, run.asked.k, seed, run.say)
    between = time.monotonic()
    write_spaces(run.task, run.encoder, chosen, out, seed=seed)
    return {
        "seed": seed,
        "chosen": msgspec.to_builtins(chosen),
        "choosing_s": round(between - begun, 1),
        "training_s": round(time.monotonic() - between, 1),
    }


@click.command("evaluate-recall")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--layout", type=click.Choice(["auto", *get_args(Layout)]), default="auto", show_default=True, help="Kind of files.")
@click.option(
    "--protocol", type=click.Choice(get_args(Protocol)), help="Which notes are cold; by default time for movielens, random for others."
)
@click.option("--k", type=click.IntRange(min=1), default=50, show_default=True, help="Length of the ranking looked at.")
@click.option("--methods", help=f"Comma-separated, of {' '.join(METHODS)}; all but encoder_text by default.")
@click.option(
    "--seeds",
    metavar="N|A,B,...",
    callback=lambda _context, _parameter, value: read_seeds(value),
    default="1",
    show_default=True,
    help="Repeats of what is drawn, how many or by their seeds, with the spread of their recall; the split stays.",
)
@click.option("--split-seed", type=int, default=SPLIT_SEED, show_default=True, help="Which notes are cold under random.")
@click.option(
    "--tags",
    type=click.Choice(["given", "handbook", "coarse"]),
    default="given",
    show_default=True,
    help="Whose tags the notes carry; coarse: genres or categories.",
)
@click.option(
    "--titles/--no-titles", default=True, show_default=True, help="Whether the handbook tagger, and encoder_text beside it, see titles."
)
@click.option("--choose/--no-choose", default=True, show_default=True, help="Choose settings on pseudo-cold notes, or take the defaults.")
@click.option(
    "--candidates",
    type=click.Choice(get_args(Candidates)),
    default="cold",
    show_default=True,
    help="What is ranked: the cold notes, or all that the reader has not acted on.",
)
@SERVED_OPTION
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw the recalls with their intervals, to .png or .svg."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate_recall(
    *, directory: Path, layout: str, protocol: Protocol | None, k: int, methods: str | None, seeds: tuple[int, ...], split_seed: int,
    tags: str, titles: bool, choose: bool, candidates: Candidates, most: int, plot: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measures how well each method finds, for readers, the notes nobody has acted on yet.

    DIRECTORY holds notes.jsonl and interactions.jsonl, or citeulike-a's files, or ml-latest-small/ and tmdb-5000/.

    Example: tagstream offline evaluate-recall data/citeulike-a --methods tag_index_raw,tfidf_cosine,merge --seeds 0,1,2
    """
    from models.encoder import load_tag_encoder
    from schemas.settings import load

    console = Console(stderr=True)
    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise click.BadParameter(f"{plot}: end it with .png or .svg", param_hint="--plot")
    if not titles and tags != "handbook":
        raise click.BadParameter("titles are taken away beside the tagger; add --tags handbook", param_hint="--no-titles")
    settings = load()
    say = partial(console.print, highlight=False)
    encoder = load_tag_encoder(settings)
    data = load_dataset(directory, None if layout == "auto" else layout)  # type: ignore[arg-type]
    if tags == "handbook":
        data = with_handbook_tags(data, encoder, settings.tagger_max_tags, titles=titles, say=say)
    elif tags == "coarse":
        data = coarse_tags(data, directory)
    asked = Asked(
        protocol or ("time" if data.name == "movielens-tmdb" else "random"),
        k,
        _methods(methods) if methods else Asked("random").methods,
        seeds,
        split_seed,
        choose,
        candidates,
        most,
    )
    report = evaluate(data, asked, encoder, say) | {"tags": tags} | ({} if titles else {"titles": False})
    if plot is not None:
        from offline.recall_plot import draw

        draw(report, k, plot)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        show(report, k)


def with_handbook_tags(
    data: RecallData, encoder: TagEncoder, tags_max: int, *, titles: bool = True, say: Say = lambda _: None
) -> RecallData:
    """The dataset with the tags that the tagger gives its notes; the given ones are not looked at. Without titles it has notes without.

    Args:
        say: told how far it is, every ``TOLD`` notes.

    Raises:
        BadSetting: when the notes have no text.
    """
    from models.handbook import load_handbook
    from models.handbook_tagger import HandbookTagger

    if data.events is None:
        raise BadSetting(f"{data.name}: its notes have no text to tag; use --tags given")
    notes = data.events if titles else [replace(note, title="") for note in data.events]
    tagger = HandbookTagger(load_handbook(), encoder, tags_max)
    answers: list[NoteTags] = []
    for start in range(0, len(notes), TOLD):
        answers += tagger.tag(notes[start : start + TOLD])
        say(f"tagged {len(answers)} of {len(notes)} notes")
    tagged = {note.note_id: answer.tags for note, answer in zip(notes, answers, strict=True)}
    return with_tagged(data._replace(events=notes), tagged)


def _methods(names: str) -> tuple[str, ...]:
    asked = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in asked:
        if name not in METHODS:
            raise click.BadParameter(f"{name} is none of {', '.join(METHODS)}", param_hint="--methods")
    return asked
