"""``tagstream offline simulate ab``."""

from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from offline.simulate.ab import ARMS, CONTROL, Plan, notes_before, run
from offline.simulate.ab_figures import MEASURES
from offline.simulate.ab_world import Log, World, learned_spaces
from offline.simulate.draws import SEED_MAX
from offline.simulate.notes import Community
from offline.simulate.true_tagger import TrueTagger

NOTES_A_DAY = 600


@click.command("ab")
@click.option("--arms", default=",".join(ARMS), show_default=True, help="Which arms, comma-separated; the control is always among them.")
@click.option("--control", type=click.Choice(list(ARMS)), default=CONTROL, show_default=True, help="The arm that others are held against.")
@click.option("--readers", type=click.IntRange(min=2), default=100, show_default=True, help="Readers who take part, in every arm.")
@click.option("--days", type=click.IntRange(min=1), default=2, show_default=True, help="How long the test runs.")
@click.option("--visits", type=click.IntRange(1, 24), default=2, show_default=True, help="Visits of a reader a day.")
@click.option("--k", type=click.IntRange(1, 100), default=10, show_default=True, help="Notes shown a visit.")
@click.option("--warm-days", type=click.IntRange(min=1), default=3, show_default=True, help="Days of log before the test.")
@click.option("--log-readers", type=click.IntRange(min=2), default=1500, show_default=True, help="Readers of that log.")
@click.option("--notes-a-day", type=click.IntRange(min=10), default=NOTES_A_DAY, show_default=True, help="How dense notes follow.")
@click.option("--tagger", type=click.Choice(["truth", "handbook"]), default="truth", show_default=True, help="Who tags the notes.")
@click.option(
    "--choose/--no-choose", "choosing", default=True, show_default=True,
    help="Choose settings and merge of the learned channels on notes of the log, or take the defaults.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=7, show_default=True, help="Which community.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def ab_command(
    *, arms: str, control: str, readers: int, days: int, visits: int, k: int, warm_days: int, log_readers: int, notes_a_day: int,
    tagger: str, choosing: bool, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Runs an A/B test of recall channels on the simulated community, through the jobs and the recall code that serve.

    Every reader lives in every arm, so differences are paired. Stores are the in-memory twins; the learned channels are trained on the log
    of the days before (--log-readers over --warm-days), their settings and the weights of the merge chosen on notes held out of it. With
    --tagger truth notes carry their true tags.

    Example: tagstream offline simulate ab --arms tag_index,two_tower --readers 200
    """
    from models.encoder import load_tag_encoder
    from models.handbook import load_handbook
    from models.handbook_tagger import HandbookTagger
    from schemas.settings import load

    names = dict.fromkeys([control, *(name.strip() for name in arms.split(",") if name.strip())])
    for name in names:
        if name not in ARMS:
            raise click.BadParameter(f"{name} is none of {', '.join(ARMS)}", param_hint="--arms")
    if readers > log_readers:
        raise click.BadParameter(f"{readers} is more than --log-readers {log_readers}", param_hint="--readers")
    console = Console(stderr=True)
    community = Community(seed, notes_a_day=notes_a_day)
    plan = Plan(
        arms={name: ARMS[name] for name in names}, control=control, readers=readers, warm_days=warm_days, days=days, visits=visits, k=k,
        log_readers=log_readers,
    )  # fmt: skip
    settings = load()
    encoder = load_tag_encoder(settings)
    tags = TrueTagger(community) if tagger == "truth" else HandbookTagger(load_handbook(), encoder, settings.tagger_max_tags)

    def say(line: str) -> None:
        console.print(line, highlight=False)

    log = Log(community, notes_before(community, plan), log_readers, plan.sessions_each)
    with (
        console.status("reading the log, training the learned channels"),
        learned_spaces(log, encoder, tags, say if choosing else None) as (spaces, chosen),
    ):
        tally = run(community, plan, World(list(names), encoder, tags, spaces, chosen.weights), say)
    figures = tally.report(control)
    if as_json:
        told = {"seed": seed, "tagger": tagger, "control": control, "plan": plan, "chosen": chosen, "arms": figures}
        click.echo(msgspec.json.encode(told).decode())
    else:
        _show(figures, control)


def _show(arms: dict[str, Any], control: str) -> None:
    """What the arms come to, how they differ from the control, and what their channels come to."""
    totals = Table("arm", "impressions", "PVCTR", "PVIR", "AVDU s", "AIU", box=None, header_style="bold")
    changes = Table(f"against {control}", "PVCTR", "PVIR", "AVDU", "AIU", box=None, header_style="bold")
    channels = Table("arm", "channel", "impressions", "PVCTR", "PVIR", box=None, header_style="bold")
    for arm, row in arms.items():
        parts = (_part(row["pvctr"]), _part(row["pvir"]), _part(row["avdu_ms"], 0.001, 0), _part(row["aiu"], 1, 2))
        totals.add_row(arm, f"{row['impressions']:,}", *parts)
        if row["against_control"]:
            changes.add_row(arm, *(_change(row["against_control"][name]) for name in MEASURES))
        for name, own in row["by_channel"].items():
            channels.add_row(arm, name, f"{own['impressions']:,}", _part(own["pvctr"]), _part(own["pvir"]))
    said = "Notes under 24 h; 95 % intervals over readers, differences paired by reader."
    Console().print(totals, changes, channels, said, sep="\n", highlight=False)


def _part(figure: list[float] | None, scale: float = 1.0, digits: int = 3) -> str:
    return "-" if figure is None else "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*(value * scale for value in figure), d=digits)


def _change(figure: list[float] | None) -> str:
    return "" if figure is None else "{:+.1%} [{:+.1%}, {:+.1%}]".format(*figure)
