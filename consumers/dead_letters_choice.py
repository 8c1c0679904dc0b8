"""Which dead letters a command means: by id, or by filters and a question."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from msgspec import Struct

from schemas.errors import InvalidEvent, TagStreamError
from schemas.settings import Settings
from streams.dead_letter_log import STATES, DeadLetters, Letter, Listing
from streams.letter_match import NUMBERS, TEXTS, Expression, MatchError, parse_match

UNDONE = ("open", "redriving")
MATCH_HELP = f"""--match takes comparisons joined by and, or, not and parentheses.

\b
Texts:   {", ".join(TEXTS[:6])},
         {", ".join(TEXTS[6:])}
         by = and != (* stands for anything, \\* for itself), ~ and !~ (regular expression)
Numbers: {", ".join(NUMBERS)}
         by = != < <= > >= (times are epoch milliseconds; at is last_failed_at)
Quotes:  a text with spaces, quotes or parentheses in double quotes

topic, partition and offset are those of the event; note_id, user_id and event_id are read from it.

\b
Examples: --match 'note_id=n-1*'    --match 'field~"\\$.title" and at>=1767225600000'
          --match 'user_id="u 7" or (attempts>=3 and not reason=poison)'"""


class Match(click.ParamType):
    """An expression over the fields of a dead letter."""

    name = "EXPR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Expression:
        try:
            return parse_match(value) if isinstance(value, str) else value
        except MatchError as error:
            self.fail(f"{error}; see --help", param, ctx)


class Filter(Struct, frozen=True, kw_only=True):
    """Which letters are meant; an empty one means all."""

    reason: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    match: Expression | None = None
    limit: int | None = None

    def of(self, letters: Sequence[Letter]) -> list[Letter]:
        chosen = [letter for letter in letters if self._takes(letter)]
        return chosen if self.limit is None else chosen[: self.limit]

    def _takes(self, letter: Letter) -> bool:
        failure = letter.content.failure
        return (
            (not self.reason or failure.reason in self.reason)
            and (not self.stage or failure.stage in self.stage or letter.job in self.stage)
            and (self.match is None or self.match.holds(letter.facts()))
        )


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options of ``Filter``."""
    for option in (
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many, the oldest first."),
        click.option("--match", type=Match(), help="Those for which an expression holds; see below."),
        click.option("--stage", multiple=True, metavar="S", help="Given up by a stage, such as tag-notes or tag-notes/decode; repeatable."),
        click.option("--reason", multiple=True, metavar="R", help="With a reason, such as invalid_event or poison; repeatable."),
    ):
        command = option(command)
    return command


def open_log(settings: Settings) -> DeadLetters:
    """The dead letters on Kafka."""
    from streams.scan import span_reader

    return DeadLetters(lambda topic: span_reader(settings, topic), settings.namespace)


def listed(log: DeadLetters) -> Listing:
    """Every letter; records that are none are told on stderr."""
    listing = log.listing()
    for topic, count in listing.unreadable.items():
        click.echo(f"{topic}: {count} records are no dead letters (headers tagstream-dl-* missing) and are passed over", err=True)
    return listing


def named(log: DeadLetters, listing: Listing, letter_id: str) -> Letter:
    """The letter of an id.

    Raises:
        TagStreamError: there is none.
    """
    letter = log.find(listing, letter_id)
    if letter is None:
        raise TagStreamError(f"no dead letter {letter_id}; `tagstream dead-letters list --state all` shows the ids there are")
    return letter


def selected(log: DeadLetters, letter_ids: Sequence[str], verb: str, **options: Any) -> list[Letter]:
    """The letters of the ids, or the open ones that the filters take, after a question."""
    which = Filter(**{name: options[name] for name in Filter.__struct_fields__})
    filtered = which != Filter()
    if letter_ids:
        if filtered or options["everything"]:
            raise click.UsageError("give IDs, or filters, or --all; not two of them")
        listing = listed(log)
        return [named(log, listing, one) for one in dict.fromkeys(letter_ids)]
    if not filtered and not options["everything"]:
        raise click.UsageError(f"say which: IDs, --reason, --stage, --match, --limit, or --all for every open one; --dry-run {verb}s none")
    states = STATES if options.get("again") else UNDONE
    letters = which.of([letter for letter in listed(log).letters if letter.state in states])
    if letters and not options["yes"] and not options["dry_run"]:
        if not sys.stdin.isatty():
            raise click.UsageError(f"{len(letters)} dead letters are meant; add --yes to {verb} them or --dry-run to see them")
        click.confirm(f"{verb} {len(letters)} dead letters?", abort=True, err=True)
    return letters


def corrected(letter: Letter, value: bytes) -> bytes:
    """The value that is sent instead of a letter's.

    Raises:
        TagStreamError: it is no valid event either.
    """
    from schemas.codec import decoder

    assert letter.source.event is not None
    try:
        decoder(letter.source.event)(value, letter.content.headers)
    except InvalidEvent as error:
        raise TagStreamError(f"--value: {error.field}: {error.reason}; mend that field, nothing was sent") from None
    return value
