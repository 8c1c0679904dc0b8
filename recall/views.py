"""What a person sees of a profile and of a recall. Ids and tags come from outside: shown as text, never read as markup or control."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.profile import ActionRef
from recall.explain import COSINE_MIN, Reason
from recall.filters import MEANING
from recall.query import Query, Recalled, Result
from recall.reader import ProfileView
from recall.sentences import age

BAR = 24
VERBS = {
    "favorite": "favorited",
    "like": "liked",
    "share": "shared",
    "comment": "commented on",
    "click": "clicked",
    "view": "viewed",
    "impression": "were shown",
}
"""Actions that a profile can come from, the strongest first."""


def shown(text: str) -> str:
    """``text`` on one line, with what a terminal would obey replaced."""
    return "".join(character if character.isprintable() else "�" for character in text)


def bar(score: float, highest: float) -> Text:
    """A bar that is full at ``highest``."""
    share = max(0.0, min(1.0, score / highest)) if highest > 0 else 0.0
    halves = round(share * BAR * 2)
    return Text("█" * (halves // 2) + "▌" * (halves % 2), style="cyan", end="")


def show_profile(console: Console, profile: ProfileView) -> None:
    """The reader's tags as bars."""
    console.print(
        Text.assemble((shown(profile.user_id), "bold"), f": {profile.actions} actions, {profile.pending} waiting for a note's tags")
    )
    if not profile.tags:
        console.print("No tags yet: a click, like or favorite on a tagged note makes the first.")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    highest = max(tag.score for tag in profile.tags)
    for tag in profile.tags:
        table.add_row(Text(shown(tag.text), style="bold"), Text(f"{tag.score:.3f}", justify="right"), bar(tag.score, highest))
    console.print(table)


def show_recalled(console: Console, query: Query, recalled: Recalled) -> None:
    """The notes with their reasons, then what was left out and what the answer had to do without."""
    for line in recalled.degraded:
        console.print(Text(f"without {shown(line)}", style="yellow"), soft_wrap=True)
    console.print(Text(_stage(query, recalled), style="italic"), soft_wrap=True)
    highest = max((result.score for result in recalled.results), default=0.0)
    for number, result in enumerate(recalled.results, start=1):
        console.print(_headline(number, result, recalled.as_of, highest), soft_wrap=True)
        for reason in result.reasons:
            console.print(_because(reason), soft_wrap=True)
        for channel, line in result.why.items():
            console.print(Text(f"      {channel}: {shown(line)}", style="dim"), soft_wrap=True)
    for why, count in Counter(removed.reason for removed in recalled.removed).most_common():
        console.print(Text(f"left out: {count} {why} ({MEANING[why]})", style="dim"))


def _stage(query: Query, recalled: Recalled) -> str:
    who, within = shown(query.user_id), "" if query.fresh_within_ms is None else f" of the last {age(query.fresh_within_ms)}"
    if not recalled.results:
        widen = "; --fresh-within all looks further back" if query.fresh_within_ms is not None else ""
        return f"Nothing{within} to recall for {who}{widen}."
    if not recalled.profile_tags:
        return f"{who} has no profile yet: the newest notes{within}."
    fill = sum(all(part.name == "fresh" for part in result.channels) for result in recalled.results)
    if fill == len(recalled.results):
        return f"Nothing{within} matches the profile of {who}: the newest notes."
    text = f"Notes{within} for {who}, by {recalled.profile_tags} profile tags"
    return f"{text}; {fill} of {len(recalled.results)} match none and fill up as the newest." if fill else f"{text}."


def _headline(number: int, result: Result, as_of: int, highest: float) -> Text:
    channels = ", ".join(f"{part.name} #{part.rank}" for part in result.channels)
    line = Text(f"{number:3} ")
    line.append(shown(result.note_id), style="bold")
    line.append(f"  {result.score:.3f} ")
    line.append_text(bar(result.score, highest))
    line.append(f"  {result.category or 'no category'}, {age(as_of - result.published_at)} old, by {channels}", style="dim")
    return line


def _because(reason: Reason) -> Text:
    """``because you liked note-12: crimson running shoes (2.4)``; a pair too far apart to be a reason is only called the nearest."""
    near = reason.similarity >= COSINE_MIN
    line = Text("      because " if near else "      nearest, ", style="" if near else "dim")
    line.append_text(_deeds(reason.actions))
    line.append(shown(reason.profile_tag), style="bold green" if near else "")
    if reason.note_tag != reason.profile_tag:
        line.append(" ≈ ")
        line.append(shown(reason.note_tag), style="bold green" if near else "")
    line.append(f" ({reason.score:.3g}")
    return line.append(f", {reason.similarity:.0%} alike)" if reason.note_tag != reason.profile_tag else ")")


def _deeds(actions: Sequence[ActionRef]) -> Text:
    """``you liked note-12 and 2 more: ``, the strongest action first."""
    if not actions:
        return Text("of your profile: ")
    first = min(actions, key=lambda action: list(VERBS).index(action.action))
    text = Text(f"you {VERBS[first.action]} ")
    text.append(shown(first.note_id), style="magenta")
    others = len({action.note_id for action in actions} - {first.note_id})
    return text.append(f" and {others} more: " if others else ": ")
