"""``tagstream offline tag-data stats``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from models.handbook import load_handbook
from offline.tag_data.split_samples import names_of, sets_of
from offline.tag_data.stats import PAPER, SetStats, read_stats

TABLE_1 = ("set", "Total Num", "Category Num", "Avg Image Num", "Avg Text Length", "Avg ASR Length")
TAGS = ("set", "tags a note", "dimensions covered", "notes without tags", "notes with speech", "ASR length of these")
CATEGORIES = ("category", "notes", "images", "text", "ASR", "tags", "dimensions", "without tags")


@click.command("stats")
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--by", type=click.Choice(["category"]), help="Also by category.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def stats(*, source: tuple[Path, ...], by: str | None, as_json: bool) -> None:
    """Prints the paper's Table 1 of the sets in directories, or of files of samples: means over notes, lengths in characters.

    Text is title, body and product cards; a note without speech counts as 0 there. Beside them the paper's own figures, and how many tags a
    note has and of what share of its category's dimensions.

    Example: tagstream offline tag-data stats runs/sets --by category
    """
    paths = [path for one in source for path in ((sets_of(one) or [one / "samples.jsonl"]) if one.is_dir() else [one])]
    handbook = load_handbook()
    names = names_of(paths)
    found = {names[path]: read_stats(path, handbook) for path in paths}
    if as_json:
        document = {
            "sets": {name: msgspec.to_builtins(whole) for name, (whole, _) in found.items()},
            "paper": PAPER,
            **({"by_category": {name: msgspec.to_builtins(parts) for name, (_, parts) in found.items()}} if by else {}),
        }
        click.echo(json.dumps(document))
        return
    console = Console()
    console.print(_table_1({name: whole for name, (whole, _) in found.items()}))
    console.print(_paper_table())
    console.print(_tags_table({name: whole for name, (whole, _) in found.items()}))
    for name, (_, parts) in found.items() if by else ():
        console.print(_category_table(name, parts))


def _table_1(rows: Mapping[str, SetStats]) -> Table:
    table = _empty("Table 1 of these notes", TABLE_1)
    for name, one in rows.items():
        table.add_row(name, f"{one.notes:,}", str(one.categories), *map(_decimals, (one.images, one.text_length, one.speech_length)))
    return table


def _paper_table() -> Table:
    table = _empty("Table 1 of the paper, notes of Dewu (it does not say what its lengths count)", TABLE_1)
    for name, row in PAPER.items():
        means = (row[key] for key in ("images", "text_length", "speech_length"))
        table.add_row(name, f"{row['notes']:,}", f"{row['categories']:.0f}", *map(_decimals, means))
    return table


def _tags_table(rows: Mapping[str, SetStats]) -> Table:
    table = _empty("Tags and speech of these notes", TAGS)
    for name, one in rows.items():
        spoken = f"{one.spoken_share:.0%}", _decimals(one.speech_length_spoken)
        table.add_row(name, _decimals(one.tags), f"{one.dimensions_covered:.0%}", f"{one.without_tags:,}", *spoken)
    return table


def _category_table(title: str, rows: Mapping[str, SetStats]) -> Table:
    table = _empty(title, CATEGORIES)
    for name, one in rows.items():
        means = map(_decimals, (one.images, one.text_length, one.speech_length, one.tags))
        table.add_row(name, f"{one.notes:,}", *means, f"{one.dimensions_covered:.0%}", f"{one.without_tags:,}")
    return table


def _decimals(number: float) -> str:
    return f"{number:.2f}"


def _empty(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="dim", box=None, header_style="dim", padding=(0, 1))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table
