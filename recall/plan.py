"""What the settings ask of an answer after the channels: weights of the merge, quotas, diversity, exploration. Read once per setting."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from recall.channels import CHANNELS
from recall.exploration import Rules
from recall.learned_channels import LEARNED
from recall.quotas import Quota, known, parse_quotas
from schemas.errors import BadSetting
from schemas.settings import Settings

VARIABLE = "TAGSTREAM_RECALL_WEIGHTS"


class Plan(Struct, frozen=True):
    """The settings of the ranking, read. ``trade``: lambda of the maximal marginal relevance, 1 for no diversity."""

    weights: Mapping[str, float]
    quotas: Mapping[str, Quota]
    trade: float
    exploration: Rules

    def weigh(self, bundle: Mapping[str, float]) -> dict[str, float]:
        """Weights of the merge by channel: the bundle's, where the setting does not say otherwise."""
        return {**bundle, **self.weights}

    def channels(self, default: Sequence[str], spaces: Sequence[str]) -> tuple[str, ...]:
        """Channels of a query that names none: the default ones without those that the setting weighs 0, with those it weighs more."""
        added = [name for name in self.weights if name in CHANNELS or name in spaces]
        return tuple(name for name in dict.fromkeys([*default, *added]) if self.weights.get(name) != 0.0)


def plan_of(settings: Settings, spaces: Sequence[str] = ()) -> Plan:
    """The plan of the settings.

    Args:
        spaces: names of the live bundle's learned spaces, which are channels too.

    Raises:
        BadSetting: naming setting, entry and fix.
    """
    rules = Rules(settings.exploration_impressions, settings.exploration_slots, round(settings.exploration_hours * 3_600_000))
    names = tuple(dict.fromkeys([*LEARNED, *spaces, *CHANNELS]))
    return _plan(settings.recall_weights, settings.recall_quotas, 1.0 - settings.recall_diversity, rules, names)


@lru_cache(maxsize=16)
def _plan(weights: str, quotas: str, trade: float, rules: Rules, names: tuple[str, ...]) -> Plan:
    return Plan(parse_weights(weights, names), parse_quotas(quotas, names), trade, rules)


def parse_weights(text: str, channels: Sequence[str]) -> dict[str, float]:
    """Reads ``two_tower=1,tag_index_idf=0.3``.

    Raises:
        BadSetting: naming the entry and the fix.
    """
    weights: dict[str, float] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (part.strip() for part in entry.partition("="))
        known(VARIABLE, name, channels)
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if not 0.0 <= weight < math.inf:
            raise BadSetting(f"{VARIABLE}: {entry!r} is no weight; write channel=number, such as tag_index_idf=0.3, 0 to leave it out")
        if name in weights:
            raise BadSetting(f"{VARIABLE}: {name} is named twice; give each channel one weight")
        weights[name] = weight
    return weights
