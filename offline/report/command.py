"""``tagstream offline report``."""

import json
from pathlib import Path

import click

from offline.whole_file import write_whole

DIRECTORY = click.Path(file_okay=False, exists=True, path_type=Path)


@click.command("report")
@click.argument("run_dirs", nargs=-1, required=True, type=DIRECTORY)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The page, such as report.html.")
@click.option("--title", default="Distilled tags", show_default=True, help="Of the page.")
@click.option("--examples", "count", type=click.IntRange(min=0), default=12, show_default=True, help="Notes shown, about.")
@click.option("--beside-paper/--ours-alone", default=True, show_default=True, help="Show the paper's rows too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def report(*, run_dirs: tuple[Path, ...], out: Path, title: str, count: int, beside_paper: bool, as_json: bool) -> None:
    """One page of all that was judged in and below RUN_DIRS: tables, plots, and notes beside their media and every model's tags; of
    training runs that lie there the curves.

    The page needs no network and no other file: pictures are within it, made small. Notes are chosen where the last model did worst and
    best, and where models differ most.

    Example: tagstream offline report runs/judged runs/ablation --out report.html
    """
    from offline.report.curves import curves
    from offline.report.examples import examples
    from offline.report.page import page
    from offline.report.runs import find

    found = find(run_dirs)
    judged = {
        **{place: one.files for place, one in found.attributes.items()},
        **{place: one.files for place, one in found.pairwise.items()},
    }
    judged = judged or {place: one.files for place, one in found.ablations.items()}
    each = -(-count // len(judged))
    shown = [one for place, files in judged.items() for one in examples(place, files, each)] if count else []
    text = page(title, found, shown, curves(run_dirs), beside_paper=beside_paper)
    write_whole(out, text)
    told = {"out": str(out), "bytes": len(text.encode()), "reports": len(found.pairwise) + len(found.attributes) + len(found.ablations),
            "examples": len(shown)}  # fmt: skip
    click.echo(json.dumps(told) if as_json else f"{told['reports']} reports, {len(shown)} notes in {out}", err=not as_json)
