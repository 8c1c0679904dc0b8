"""``tagstream dead-letters``: what could not be processed; look at it, send it again, put it aside."""

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from consumers.dead_letters_choice import MATCH_HELP, UNDONE, Filter, corrected, filters, listed, named, open_log, selected
from recall.cli import DATA, JSON, print_json
from schemas.settings import Settings, load
from streams.dead_letter_log import STATES, DeadLetters, Letter

if TYPE_CHECKING:
    from consumers.dead_letters_view import Told
    from streams.redrive import Asked

ALL = click.option("--all", "everything", is_flag=True, help="Every one that is open.")
YES = click.option("--yes", is_flag=True, help="Ask no question.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show what would be done.")
SAY_EVERY = 1_000
WHY = click.option("--why", default="", metavar="TEXT", help="Words that are kept with what was done.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Show what could not be processed, send it again, or put it aside.

    Example: tagstream dead-letters list --reason poison
    """


@dead_letters.command("list", epilog=MATCH_HELP)
@filters
@click.option("--state", type=click.Choice([*STATES, "all"]), default="open", show_default=True, help="What was done with them so far.")
@JSON
@DATA
def list_command(state: str, as_json: bool, data: str | None, **chosen: Any) -> None:
    """List dead letters, by default those that nothing was done with yet.

    An unfinished redrive (redriving) counts as open. A letter whose event was sent again and failed again is failed_again; the letter that
    came of it is open.

    Example: tagstream dead-letters list --stage index-notes --match 'note_id=n-1*'
    """
    from consumers.dead_letters_view import letter_of, show_list

    log = open_log(load(data=data))
    listing = listed(log)
    wanted = UNDONE if state == "open" else STATES if state == "all" else (state,)
    found = Filter(**chosen).of([letter for letter in listing.letters if letter.state in wanted])
    states = Counter(letter.state for letter in listing.letters)
    counts: dict[str, int] = {name: states[name] for name in STATES}
    if as_json:
        print_json({"dead_letters": [letter_of(one) for one in found], "counts": counts})
    else:
        show_list(found, counts)


@dead_letters.command()
@click.argument("letter_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the original value to stdout, byte for byte, and nothing else.")
@JSON
@DATA
def show(letter_id: str, raw: bool, as_json: bool, data: str | None) -> None:
    """Show all of one dead letter: reason, original bytes, headers, where it was, when it failed first and last.

    ID is topic/partition/offset as the list has it; the namespace may be left out.

    Example: tagstream dead-letters show note-events-dead-letters/0/5 --raw > note.json
    """
    from consumers.dead_letters_view import letter_of, show_letter, whole

    log = open_log(load(data=data))
    (letter,) = log.with_values([named(log, listed(log), letter_id)])
    if raw:
        sys.stdout.buffer.write(letter.content.value or b"")
    elif as_json:
        print_json(letter_of(letter) | whole(letter))
    else:
        show_letter(letter)


@dead_letters.command(epilog=MATCH_HELP)
@click.argument("letter_ids", nargs=-1, metavar="[ID]...")
@filters
@ALL
@YES
@DRY_RUN
@click.option("--value", "file", type=click.File("rb"), metavar="FILE", help="Send this instead of the value of the one ID; - is stdin.")
@click.option("--wait", type=click.FloatRange(min=0), metavar="S", help="Wait up to S seconds and say what became of each.")
@click.option("--max-attempts", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Refuse what failed N times.")
@click.option("--again", is_flag=True, help="Also what was redriven or dropped before.")
@WHY
@JSON
@DATA
def redrive(letter_ids: tuple[str, ...], file: BinaryIO | None, wait: float | None, **options: Any) -> None:
    """Send events again to the topic where they failed: key, value and headers untouched, attempts counted on.

    Stages before the one that failed are not repeated, and an event is applied once however often it is sent. What fails again is a new
    dead letter; nothing is sent again by itself. Exit status 1 when something was refused, failed again, waits for its note's tags again or
    was not read in time.

    Example: tagstream dead-letters redrive --reason poison --stage tag-notes --yes --wait 60
    """
    from consumers.dead_letters_view import DONE, counted, plan_of, show_told
    from streams.redrive import Asked

    if file is not None and len(letter_ids) != 1:
        raise click.UsageError("--value belongs to exactly one ID")
    settings = load(data=options["data"])
    log = open_log(settings)
    letters = selected(log, letter_ids, "redrive", **options)
    asked = Asked(
        again=options["again"],
        max_attempts=options["max_attempts"],
        corrected=None if file is None else corrected(letters[0], file.read()),
        why=options["why"],
    )
    told = plan_of(log, letters, asked) if options["dry_run"] else _redrive(settings, log, letters, asked, wait)
    if options["as_json"]:
        print_json(counted(told))
    else:
        show_told(told)
    if any(one.outcome not in DONE for one in told):
        sys.exit(1)


@dead_letters.command(epilog=MATCH_HELP)
@click.argument("letter_ids", nargs=-1, metavar="[ID]...")
@filters
@ALL
@YES
@DRY_RUN
@WHY
@JSON
@DATA
def drop(letter_ids: tuple[str, ...], **options: Any) -> None:
    """Put dead letters aside: they are listed as dropped and not redriven. Nothing is deleted; redrive --again takes one back.

    Example: tagstream dead-letters drop --match 'user_id=load-test-*' --why "load test" --yes
    """
    from streams.redrive import mark_of
    from streams.sender import KafkaSender

    settings = load(data=options["data"])
    log = open_log(settings)
    letters = [letter for letter in selected(log, letter_ids, "drop", **options) if letter.state != "dropped"]
    if letters and not options["dry_run"]:
        sender = KafkaSender(settings)
        try:
            log.mark(sender, [mark_of(letter, "dropped", time.time_ns() // 1_000_000, options["why"]) for letter in letters])
        finally:
            sender.close()
    names = [letter.id.shown for letter in letters]
    if options["as_json"]:
        print_json({"dropped": 0 if options["dry_run"] else len(names), "letters": names})
    else:
        click.echo("\n".join([*names, f"{len(names)} {'would be ' if options['dry_run'] else ''}dropped"]))


def _redrive(settings: Settings, log: DeadLetters, letters: list[Letter], asked: "Asked", wait_s: float | None) -> "list[Told]":
    """Sends them, with a line on stderr now and then; with ``wait_s`` follows what became of each."""
    from consumers.dead_letters_view import told_of
    from consumers.waiting_actions import waiting_again
    from streams.groups import next_offsets
    from streams.redrive import Redriver
    from streams.redrive_outcome import Follower
    from streams.sender import KafkaSender

    follower = None
    if wait_s is not None:
        follower = Follower(log, lambda job, topic: next_offsets(settings, job, topic), sorted({letter.id.topic for letter in letters}))
    sender = KafkaSender(settings)
    try:
        redriven = []
        for one in Redriver(log, sender).redrive(letters, asked):
            redriven.append(one)
            if len(redriven) % SAY_EVERY == 0:
                click.echo(f"{len(redriven):,} of {len(letters):,} sent", err=True)
    finally:
        sender.close()
    sent = [one for one in redriven if one.outcome == "redriven"]
    if follower is None or not sent:
        return [told_of(one) for one in redriven]
    click.echo(f"{len(sent)} sent, waiting up to {wait_s:g} s for what becomes of them", err=True)
    followed = follower.follow(sent, wait_s or 0.0)
    waiting = waiting_again(settings, followed)
    found = {one.redriven.letter.id: one for one in followed}
    return [told_of(one, found.get(one.letter.id), waits=one.letter.id in waiting) for one in redriven]
