"""``tagstream bundle``: what builds and lists bundles is in ``recall/bundle_cli.py``, what compares and switches them is here."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.table import Table
from rich.text import Text

from consumers.compare import Comparison
from recall.cli import DATA, JSON, Age, console, print_json
from schemas.commands import LateGroup
from schemas.errors import MissingPrerequisite
from schemas.keys import Keys
from schemas.settings import load

COMMANDS = {
    "build": "recall.bundle_cli:build",
    "verify": "recall.bundle_cli:verify",
    "list": "recall.bundle_cli:list_bundles",
    "compare": "consumers.rollout_cli:compare",
    "activate": "consumers.rollout_cli:activate",
    "rollback": "consumers.rollout_cli:rollback",
    "history": "consumers.rollout_cli:history",
    "trim": "consumers.rollout_cli:trim",
    "drop": "consumers.rollout_cli:drop",
}


@click.group(cls=LateGroup, table=COMMANDS)
def bundle() -> None:
    """Everything learned that must go together, as one directory under one version; and which version readers get.

    Example: tagstream bundle build --space two_tower --space linear
    """


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--readers", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Readers whose recalls are compared.")
@click.option("--notes", type=click.IntRange(1, 1_000_000), default=20_000, show_default=True, help="Newest notes looked for in both.")
@JSON
@DATA
def compare(*, a: str, b: str, readers: int, notes: int, as_json: bool, data: str | None) -> None:
    """Compare two bundles on the servers, B being the one to switch to: coverage, tags, vectors, recalls and their reasons, and a sample of
    B computed anew from the topics. Exit 1 when something stands against switching to B.

    A and B are versions or directories.

    Example: tagstream bundle compare b0123456789 b9876543210
    """
    from consumers.compare import Sizes
    from consumers.rollout import compare_bundles

    found = compare_bundles(load(data=data), a, b, Sizes(readers=readers, notes=notes))
    if as_json:
        print_json(found)
    else:
        _show(found)
    for fault in found.faults:
        click.echo(f"tagstream: {fault}", err=True)
    if found.faults:
        sys.exit(1)


@click.command()
@click.argument("bundle_version", metavar="BUNDLE")
@click.option("--force", metavar="REASON", help="Go on although the comparison or its lag stands against it; the reason is kept.")
@JSON
@DATA
def activate(bundle_version: str, force: str | None, as_json: bool, data: str | None) -> None:
    """Make a bundle the live one: readers switch within about a second, without a failed answer and without one that mixes bundles.

    Refused when it compares badly with the live one or its consumers are behind. Keep those running: they are the live ones now; those of
    the bundle before keep a rollback up to date for as long as they run.

    Example: tagstream bundle activate b9876543210
    """
    from consumers.rollout import activate as switch

    if force is not None and not force.strip():
        raise click.BadParameter("give the reason in words; it is kept in the history", param_hint="--force")
    moved = switch(load(data=data), bundle_version, force=force or "")
    if as_json:
        print_json(moved)
        return
    overruled = f", overruling: {'; '.join(moved.refused)}" if moved.refused else ""
    click.echo(f"{moved.bundle} is live, {moved.before} was{overruled}")


@click.command()
@JSON
@DATA
def rollback(as_json: bool, data: str | None) -> None:
    """Go back to the bundle that was live before the present one.

    Example: tagstream bundle rollback
    """
    from consumers.rollout import rollback as back

    moved = back(load(data=data))
    behind = {job: lag for job, lag in moved.lag.items() if lag}
    if as_json:
        print_json(moved)
    else:
        click.echo(f"{moved.bundle} is live again, {moved.before} was")
    if behind:
        lags = ", ".join(f"{job} by {lag:,}" for job, lag in behind.items())
        click.echo(f"its consumers are behind ({lags}): run them with TAGSTREAM_BUNDLE of {moved.bundle}", err=True)


@click.command()
@JSON
@DATA
def history(as_json: bool, data: str | None) -> None:
    """Show every switch: when, from which bundle to which, and what was overruled for which reason.

    Example: tagstream bundle history --json
    """
    from recall.pointer import history as moves
    from recall.redis_client import redis_client

    settings = load(data=data)
    found = moves(redis_client(settings), settings)
    if as_json:
        print_json(found)
        return
    table = Table("when (UTC)", "what", "bundle", "before", "forced because", "overruled", box=None, header_style="bold")
    for one in found:
        when = datetime.fromtimestamp(one.at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(when, one.kind, one.bundle, one.before or "-", Text(one.forced), Text("; ".join(one.refused)))
    console().print(table if found else "No bundle was live yet: `tagstream consume` makes one.")


@click.command()
@click.argument("bundle_version", metavar="[BUNDLE]", required=False)
@click.option("--older-than", "age", type=Age(), required=True, metavar="AGE", help="Age of a note by now: 90d, 12w.")
@JSON
@DATA
def trim(bundle_version: str | None, age: int, as_json: bool, data: str | None) -> None:
    """Take old notes off the lists by tag and by category, the live bundle's by default: they grow with every note otherwise. Notes and
    vectors stay, so a profile still learns from an action on an old note, and a search by vectors of --fresh-within all still finds it.

    Writers and readers may run; one call reads every key of Redis once, so run it daily or weekly, by cron.

    Example: tagstream bundle trim --older-than 90d
    """
    from recall.notes import RedisNotes
    from recall.pointer import active_bundle
    from recall.redis_client import redis_client

    if age == Age.ALL:
        raise click.BadParameter("'all' would empty the lists; give an age such as 90d", param_hint="--older-than")
    settings = load(data=data)
    client = redis_client(settings)
    chosen = bundle_version or active_bundle(client, settings)
    if chosen is None:
        raise MissingPrerequisite("no bundle is live yet; `tagstream consume` makes one, or name a bundle")
    dropped = RedisNotes(client, Keys(settings.namespace, chosen)).trim(int(time.time() * 1000) - age)
    if as_json:
        print_json({"bundle": chosen, "entries": dropped})
    else:
        click.echo(f"{dropped:,} entries went from the lists of {chosen}")


@click.command()
@click.argument("bundle_version", metavar="BUNDLE")
@JSON
@DATA
def drop(bundle_version: str, as_json: bool, data: str | None) -> None:
    """Delete a bundle's profiles, notes, vectors and consumer groups from the servers. Refused while it is live or its consumers run; the
    directory stays, so that a replay can bring it back.

    Example: tagstream bundle drop b0123456789
    """
    from consumers.rollout import drop as take_away

    count = take_away(load(data=data), bundle_version)
    if as_json:
        print_json({"bundle": bundle_version, "keys": count})
    else:
        click.echo(f"{bundle_version} is gone from the servers: {count:,} keys and its collections")


def _show(found: Comparison) -> None:
    table = Table("", found.a, found.b, "", box=None, header_style="bold")
    for what, one in (("notes", found.notes), ("readers", found.readers)):
        lacking = f", lacking {', '.join(map(repr, one.missing))}" if one.missing else ""
        table.add_row(what, f"{one.a:,}", f"{one.b:,}", Text(f"{one.share:.2%} are in both{lacking}"))
    tags = found.tags
    table.add_row("tags", "", "", f"{tags.same:,} of {tags.notes:,} notes have the same, Jaccard {tags.jaccard:.3f} on average")
    for example in tags.examples:
        table.add_row("", _some(example["only_a"]), _some(example["only_b"]), Text(f"only there, of {example['note_id']}"))
    for name, drift in found.vectors.items():
        told = f"cosine {drift.cosine_mean:.3f}, a twentieth below {drift.cosine_p5:.3f}" if drift.comparable else "cannot be compared"
        table.add_row(f"vectors {name}", "", "", told)
    recall = found.recall
    table.add_row("recall", "", "", f"{recall.notes:.0%} of the notes and {recall.reasons:.0%} of their reasons, {recall.readers} readers")
    anew = found.recomputed
    table.add_row("computed anew", "", "", f"{len(anew.differ)} of {anew.notes} notes and {anew.readers} readers differ from the topics")
    table.add_row("behind", "", "", ", ".join(f"{job} {lag:,}" for job, lag in found.lag.items()))
    console().print(table)


def _some(texts: object) -> Text:
    return Text(", ".join(map(str, texts[:4])) if isinstance(texts, Sequence) else "", style="dim")
