"""What each channel had for its proposal, in one plain line a channel. The pairs of tags with their scores are in ``recall/explain.py``."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recall.arrange import Place
from recall.channels import Context, category_shares
from recall.explain import COSINE_MIN, Reason
from recall.plan import Plan
from recall.stores import Glance

TAGS_NAMED = 3
BY_TAG = ("tag_index", "tag_index_idf")


class Moment(NamedTuple):
    """When a query was answered, epoch ms, and by which settings."""

    at: int
    plan: Plan


def why(place: Place, record: Glance, reasons: Sequence[Reason], context: Context, moment: Moment) -> dict[str, str]:
    """One line for each channel that proposed the note, by channel name; one under ``quota`` where a quota brought it in.

    Args:
        reasons: of this note, strongest first.
        moment: of the query.
    """
    now, plan = moment
    lines: dict[str, str] = {}
    for part in place.note.channels:
        if part.name == "fresh":
            lines[part.name] = _fresh(record, category_shares(context), now)
        elif part.name == "exploration":
            lines[part.name] = _explored(place, record, now, plan)
        elif part.name in BY_TAG:
            lines[part.name] = _shared(record, context.reader.liked)
        else:
            lines[part.name] = _near(reasons)
    if place.quota is not None:
        lines["quota"] = f"{place.quota} is due at least {plan.quotas[place.quota].least:.0%} of the results"
    return lines


def age(milliseconds: int) -> str:
    """A duration in a unit of which it has at least two, if any."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if abs(milliseconds) >= 2 * size:
            return f"{milliseconds / size:.0f} {unit}"
    return f"{milliseconds / 1000:.0f} s"


def _fresh(record: Glance, shares: Mapping[str, float], now: int) -> str:
    text = f"published {age(now - record.published_at)} ago"
    share = shares.get(record.category or "")
    return f"{text}; {share:.0%} of the notes acted on last are in {record.category}" if share else text


def _explored(place: Place, record: Glance, now: int, plan: Plan) -> str:
    left = f"{place.left} of its {plan.exploration.impressions} guaranteed impressions are left after this one"
    return f"new, {age(now - record.published_at)} old; {left}"


def _shared(record: Glance, liked: Mapping[str, float]) -> str:
    tags = sorted({tag.text for tag in record.tags} & liked.keys(), key=lambda text: (-liked[text], text))
    more = f" and {len(tags) - TAGS_NAMED} more" if len(tags) > TAGS_NAMED else ""
    return f"shares {', '.join(tags[:TAGS_NAMED])}{more} with the profile"


def _near(reasons: Sequence[Reason]) -> str:
    """By the strongest pairs of tags: what a learned space has in common with them is the reader's history and the note's tags."""
    if not reasons:
        return "near to what the reader acted on; no pair of tags says why"
    pairs = [one.note_tag if one.note_tag == one.profile_tag else f"{one.profile_tag} ≈ {one.note_tag}" for one in reasons[:TAGS_NAMED]]
    return f"{'near' if reasons[0].similarity >= COSINE_MIN else 'nearest, though far'}: {', '.join(pairs)}"
