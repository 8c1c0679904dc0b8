"""``tagstream offline distil-demo``."""

import json
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from offline.distil.demo import BASES, CATEGORIES, STAGES, TITLES, UNGUARDED, Plan, run
from schemas.errors import TagStreamError

DEFAULT = Plan()
COUNT = click.IntRange(min=1)
RATE = click.FloatRange(min=0, min_open=True)


@click.command("distil-demo")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Directory for everything.")
@click.option("--family", type=click.Choice([*BASES, "both"]), default="both", show_default=True, help="Which kind of model.")
@click.option("--seed", type=click.IntRange(min=0), default=DEFAULT.seed, show_default=True, help="Which community.")
@click.option("--sft", type=COUNT, default=DEFAULT.sft, show_default=True, help="Notes of the SFT set.")
@click.option("--pool", type=COUNT, default=DEFAULT.pool, show_default=True, help="Notes of the DPO pool.")
@click.option("--held-out", type=COUNT, default=DEFAULT.held_out, show_default=True, help="Notes of the evaluation set.")
@click.option("--noise", type=click.FloatRange(0, 1), default=DEFAULT.noise, show_default=True, help="How much the teacher errs.")
@click.option("--epochs", type=RATE, default=DEFAULT.epochs, show_default=True, help="Of SFT.")
@click.option("--sft-rate", type=RATE, default=DEFAULT.sft_rate, show_default=True, help="Learning rate of SFT.")
@click.option("--dpo-rate", type=RATE, default=DEFAULT.dpo_rate, show_default=True, help="Learning rate of DPO.")
@click.option("--beta", type=RATE, default=DEFAULT.beta, show_default=True, help="Of DPO.")
@click.option("--sft-weight", type=click.FloatRange(min=0), default=DEFAULT.sft_weight, show_default=True, help="Of DPO's SFT term.")
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True, help="auto: a GPU where there is one.")
@click.option("--json", "as_json", is_flag=True, help="The table as one JSON document on stdout.")
def distil_demo(*, out: Path, family: str, as_json: bool, **chosen: Any) -> None:
    """Distils a tiny Qwen3-VL and a tiny InternVL3.5 on simulated notes, from data to judged models, by the commands that a real run takes.

    Ends with base, SFT and DPO on held-out notes, the ablation by modality, and OUT/report.html; exits 1 where a stage is not better than
    the one before. Called again it goes on where it was stopped.

    Example: tagstream offline distil-demo --out runs/distil
    """
    plan = Plan(families=tuple(BASES) if family == "both" else (family,), **chosen)  # type: ignore[arg-type]
    kept = out / "plan.json"
    if kept.is_file() and msgspec.json.decode(kept.read_bytes(), type=Plan) != plan:
        raise click.UsageError(f"{out} holds a run with other options ({kept}); choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(msgspec.json.encode(plan))
    try:
        table = run(plan, out, lambda line: click.echo(line, err=True))
    except TagStreamError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(table))
    else:
        _show(plan, table, out)
    if not all(of["rises"][figure] for of in table["families"].values() for figure in of["rises"]):
        click.echo("a stage is not better than the one before it", err=True)
        raise click.exceptions.Exit(1)


def _show(plan: Plan, table: dict[str, Any], out: Path) -> None:
    console = Console()
    for family in plan.families:
        of = table["families"][family]
        shown = Table(
            "", "total", "truth", "cover.", "import.", "pairwise", *CATEGORIES, title=TITLES[family], box=None, header_style="dim"
        )
        for name in (*STAGES, UNGUARDED):
            row = of["models"][name]
            scores = [f"{row[part]:.3f}" for part in ("total", "truth", "coverage", "importance")]
            split = [f"{row['categories'][one]:+.3f}" if one in row["categories"] else "" for one in CATEGORIES]
            shown.add_row("dpo without guards" if name == UNGUARDED else name, *scores, f"{row['pairwise']:+.3f}", *split)
        console.print(shown)
        for name, gained in of["gains"].items():
            told = [
                f"{figure} {one['mean']:+.3f} [{one['ci95'][0]:+.3f}, {one['ci95'][1]:+.3f}]"
                for figure, one in gained.items()
                if one["ci95"]
            ]
            console.print(f"{name}: {', '.join(told)}", markup=False)
        console.print(f"most critical: {of['ablation']['most_critical']}\n")
    console.print(f"notes beside their media: {out}/report.html")
