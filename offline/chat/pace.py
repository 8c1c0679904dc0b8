"""Limits per minute, kept by spreading requests over time rather than by being refused."""

from collections.abc import Callable

BURST_S = 1.0


class Pace:
    """At most ``per_min`` of something a minute, evenly; what a still second would have allowed may go at once. 0: no limit."""

    def __init__(self, per_min: int, clock: Callable[[], float]) -> None:
        self._each_s = 60.0 / per_min if per_min else 0.0
        self._clock = clock
        self._free_at = clock()

    def take(self, amount: int = 1) -> float:
        """Takes an amount; seconds until it may be used."""
        if not self._each_s:
            return 0.0
        now = self._clock()
        start = max(self._free_at, now - BURST_S)
        self._free_at = start + amount * self._each_s
        return max(start - now, 0.0)

    def correct(self, surplus: int) -> None:
        """Gives back what was taken too much (or takes what was taken too little, where negative)."""
        self._free_at -= surplus * self._each_s
