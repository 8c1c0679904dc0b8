"""Asks the channels of a query for their candidates, at the same time where there is something to wait for."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import TypeAlias, cast

from recall.channels import NOTHING, WORD_FOR_WORD, Channel, Context, Found, Nearest, Search, WordForWord, ask_together
from schemas.errors import Transient

CHANNEL_THREADS = 64
Lines = dict[str, str]
"""Of each channel that could not answer, why."""
Work: TypeAlias = Callable[[], dict[str, Found]]


def propose_all(channels: Sequence[Channel], context: Context, degraded: Lines) -> dict[str, Found]:
    """What each channel proposes, by name.

    The note index takes longest, so its first channel is asked from here, at once, and any further one from a thread of its own. While they
    wait, one more thread asks Redis for the others: threads that compute at the same time would only take turns, so it is not started
    before the first search is ready to go. Stores in this very process are asked in turn.
    """
    lines: Lines = {}
    by_words = [cast(WordForWord, channel) for channel in channels if channel.name in WORD_FOR_WORD]
    near = [cast(Nearest, channel) for channel in channels if channel.name not in WORD_FOR_WORD]
    start = _start if context.at_once and near else _in_turn
    later = [start(partial(propose_near, channel, context, lines)) for channel in near[1:]]
    first = ask_near(near[0], context, lines) if near else dict
    if by_words:
        later.append(start(partial(propose_by_words, by_words, context, lines)))
    found = first()
    for one in later:
        found |= one()
    degraded.update({channel.name: lines[channel.name] for channel in channels if channel.name in lines})
    return {channel.name: found[channel.name] for channel in channels}


def propose_near(channel: Nearest, context: Context, lines: Lines) -> dict[str, Found]:
    """Candidates of a channel that asks the note index."""
    return ask_near(channel, context, lines)()


def ask_near(channel: Nearest, context: Context, lines: Lines) -> Work:
    """The same as far as it computes here; with the candidates their records are read, while others may still be searching, and those of
    the reader's last notes."""

    def answer(search: Search) -> dict[str, Found]:
        try:
            found = search()
        except Transient as error:
            lines[channel.name] = f"{channel.name}: {error}"
            return {channel.name: NOTHING}
        with suppress(Transient):  # the filters ask again
            context.notes.read([*(hit.note_id for hit in found.hits), *context.reader.recent_notes])
        return {channel.name: found}

    try:
        return partial(answer, channel.ask(context))
    except Transient as error:
        lines[channel.name] = f"{channel.name}: {error}"
        return lambda: {channel.name: NOTHING}


def propose_by_words(channels: Sequence[WordForWord], context: Context, lines: Lines) -> dict[str, Found]:
    """Candidates of the channels that need Redis alone, which are asked together."""
    try:
        return ask_together(channels, context)
    except Transient as error:
        lines.update({channel.name: f"{channel.name}: {error}" for channel in channels})
        return {channel.name: Found([], False) for channel in channels}


def _start(work: Work) -> Work:
    """Begins at once, in a thread; what it returns waits."""
    return _threads().submit(work).result


def _in_turn(work: Work) -> Work:
    return work


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of the channels, for all queries of the process."""
    return ThreadPoolExecutor(CHANNEL_THREADS, thread_name_prefix="channel")
