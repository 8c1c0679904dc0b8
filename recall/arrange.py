"""From the merged ranking to the answer: diversity, then quotas, then, where the query serves, the places of exploration."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from recall.channels import Context
from recall.diversity import diversify
from recall.exploration import NAME, Granted, Passes, explore
from recall.merge import ChannelScore, Ranked
from recall.plan import Plan
from recall.quotas import choose_by_quota
from recall.stores import ExplorationBudget
from schemas.errors import Transient


class Place(Struct, frozen=True):
    """A place of the answer. ``quota``: the channel whose minimum brought the note in; ``left``: what exploration may still grant of it."""

    note: Ranked
    quota: str | None = None
    left: int | None = None


def arrange(ranked: Sequence[Ranked], context: Context, plan: Plan, k: int) -> list[Place]:
    """The ``k`` places of an answer."""
    return _choose(_diverse(ranked, context, plan, k), plan, k)


def arrange_serving(
    ranked: Sequence[Ranked], context: Context, plan: Plan, k: int, *,
    budget: ExplorationBudget | None, now: int, passes: Passes, degraded: dict[str, str],
) -> list[Place]:  # fmt: skip
    """The same for a query whose answer is shown: its last places go to exploration as far as that has something to show."""
    order = _diverse(ranked, context, plan, k)
    plain = _choose(order, plan, k)
    if budget is None or not plan.exploration.impressions:
        return plain
    try:
        granted = explore(context, plan.exploration, budget, now, k=k, passes=passes, taken={place.note.note_id for place in plain})
    except Transient as error:
        degraded[NAME] = f"{NAME}: {error}"
        return plain
    shown = {one.note_id for one in granted}
    merged = {one.note_id: one for one in ranked}
    others = _choose([one for one in order if one.note_id not in shown], plan, k - len(granted))
    return [*others, *(_explored(one, rank, merged) for rank, one in enumerate(granted, start=1))]


def _diverse(ranked: Sequence[Ranked], context: Context, plan: Plan, k: int) -> Sequence[Ranked]:
    return ranked if plan.trade >= 1.0 else diversify(ranked, context.notes.get(one.note_id for one in ranked), k, plan.trade)


def _choose(order: Sequence[Ranked], plan: Plan, k: int) -> list[Place]:
    return [Place(one.note, one.quota) for one in choose_by_quota(order, k, plan.quotas)]


def _explored(one: Granted, rank: int, merged: Mapping[str, Ranked]) -> Place:
    """A granted note with what the merge says of it, if another channel proposed it too."""
    known = merged.get(one.note_id) or Ranked(one.note_id, one.published_at, 0.0, [])
    return Place(replace(known, channels=[*known.channels, ChannelScore(NAME, rank, one.match)]), left=one.left)
