"""Asks the channels of a query for their candidates, at the same time where there is something to wait for."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import cast

from recall.channels import WORD_FOR_WORD, Channel, Context, Found, WordForWord, ask_together
from schemas.errors import Transient

CHANNEL_THREADS = 64
Lines = dict[str, str]
"""Of each channel that could not answer, why."""


def propose_all(channels: Sequence[Channel], context: Context, degraded: Lines) -> dict[str, Found]:
    """What each channel proposes, by name.

    The note index takes longest, so its first channel is asked from here, at once, and any further one from a thread of its own. While they
    wait, one more thread asks Redis for the others: threads that compute at the same time would only take turns. Stores in this very
    process are asked in turn.
    """
    lines: Lines = {}
    by_words = [cast(WordForWord, channel) for channel in channels if channel.name in WORD_FOR_WORD]
    work: list[Callable[[], dict[str, Found]]] = [
        partial(propose_near, channel, context, lines) for channel in channels if channel.name not in WORD_FOR_WORD
    ]
    if by_words:
        work.append(partial(propose_by_words, by_words, context, lines))
    later = [_threads().submit(one).result for one in work[1:]] if context.at_once else work[1:]
    found = work[0]() if work else {}
    for one in later:
        found |= one()
    degraded.update({channel.name: lines[channel.name] for channel in channels if channel.name in lines})
    return {channel.name: found[channel.name] for channel in channels}


def propose_near(channel: Channel, context: Context, lines: Lines) -> dict[str, Found]:
    """Candidates of a channel that asks the note index; with their records, that are read while others may still be searching, those of the
    reader's last notes."""
    try:
        found = channel.candidates(context)
    except Transient as error:
        lines[channel.name] = f"{channel.name}: {error}"
        return {channel.name: Found([], False)}
    with suppress(Transient):  # the filters ask again
        context.notes.read([*(hit.note_id for hit in found.hits), *context.reader.recent_notes])
    return {channel.name: found}


def propose_by_words(channels: Sequence[WordForWord], context: Context, lines: Lines) -> dict[str, Found]:
    """Candidates of the channels that need Redis alone, which are asked together."""
    try:
        return ask_together(channels, context)
    except Transient as error:
        lines.update({channel.name: f"{channel.name}: {error}" for channel in channels})
        return {channel.name: Found([], False) for channel in channels}


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of the channels, for all queries of the process."""
    return ThreadPoolExecutor(CHANNEL_THREADS, thread_name_prefix="channel")
