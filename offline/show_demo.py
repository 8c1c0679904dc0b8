"""The command ``tagstream demo`` and what it shows: tags, profiles, recalls with reasons, times, metrics, what was seen and heard."""

import json
from collections.abc import Sequence

import click
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from consumers.metrics_cli import show as show_metrics
from consumers.slo import line
from offline.demo import NAMESPACE, Demo, run, summary
from offline.live import percentiles
from recall.views import show_profile, show_recalled, shown
from schemas.settings import load
from schemas.stored import NoteRecord

STAGES = {
    "received": "the tagger's batch begins",
    "tagged": "tags published",
    "indexed": "Milvus has the vectors",
    "recallable": "found by a search",
}


@click.command()
@click.option("--keep", is_flag=True, help="Leave the servers up, so that other commands have something to talk to.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of tables.")
def demo(keep: bool, as_json: bool) -> None:
    """Run the event path once on real Kafka, Redis and Milvus with the sample notes and readers.

    Then a few simulated notes with pictures, clips and voices, seen and heard by the demo models. Starts the local stack if it is not up,
    works under the namespaces "demo" and "demo-media" and clears them first.

    Example: tagstream demo --keep
    """
    progress = Console(stderr=True)
    settings = load()
    done = run(settings, progress, keep=keep)
    if as_json:
        click.echo(json.dumps(summary(done), ensure_ascii=False))
        return
    show(Console(), done)
    if keep:
        where = "" if settings.data == ".tagstream" else f" TAGSTREAM_DATA={settings.data}"
        progress.print(f"\nThe servers stay up. Go on with:  export TAGSTREAM_NAMESPACE={NAMESPACE}{where}", highlight=False)
        progress.print("  tagstream consume all &   tagstream recall u-runner-en --explain   tagstream dev down", highlight=False)


def show(console: Console, whole: Demo) -> None:
    """Everything, in the order in which a note becomes a recommendation; then the notes with media."""
    from offline.show_demo_media import show_seen_and_heard  # OpenCV with it

    done = whole.path
    console.print(Rule("tags of each note"))
    console.print(tag_table(done.notes))
    console.print(Rule("reader profiles"))
    for profile in done.profiles:
        show_profile(console, profile)
    console.print(Rule("recall among the notes of the last 24 hours"))
    for query, recalled in done.recalls:
        show_recalled(console, query, recalled)
    console.print(Rule(f"from publishing to recallable, {len(done.timings)} notes published one by one"))
    console.print(stage_table(done.timings))
    console.print(Rule("what recall of fresh notes earned"))
    show_metrics(console, done.metrics)
    console.print(Rule("seen and heard: simulated notes through the demo models"))
    show_seen_and_heard(console, whole.media)
    console.print(Text(f"whole demo: {whole.seconds:.0f} s", style="dim"))
    console.print(Text(line(done.slo), style="bold green" if done.slo.met else "bold red"), soft_wrap=True)


def tag_table(notes: Sequence[NoteRecord]) -> Table:
    """One row a note: its tags by rank, each with dimension and confidence."""
    table = Table("note", "category", "tags: text (dimension, confidence)", box=None, header_style="bold", pad_edge=False)
    for note in notes:
        tags = Text("deleted", style="dim") if note.deleted else Text()
        for tag in note.tags:
            tags.append(shown(tag.text), style="bold green")
            tags.append(f" ({tag.dimension}, {tag.confidence:.2f})  ", style="dim")
        table.add_row(Text(shown(note.note_id), style="magenta"), note.category or "-", tags)
    return table


def stage_table(timings: Sequence[dict[str, int]]) -> Table:
    """p50 and p99 in ms since the event was published, by stage."""
    table = Table("stage", "p50 ms", "p99 ms", "", box=None, header_style="bold", pad_edge=False)
    for stage, meaning in STAGES.items():
        found = percentiles(timings, stage)
        if found:
            style = "bold" if stage == "recallable" else ""
            table.add_row(Text(stage, style=style), f"{found['p50']:.0f}", f"{found['p99']:.0f}", Text(meaning, style="dim"))
    return table
