"""A circuit breaker: while a service is down nobody waits for it, and one call now and then finds out whether it is back."""

import threading
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]


class Circuit:
    """Closed at first. So many failures in a row open it; after ``cool_down_s`` it is half open and lets a single trial through, which
    closes it or opens it again. Safe for several threads.

    Args:
        failures: in a row, that open it.
        cool_down_s: from opening to the next trial; also how long a trial may take before another one is let through.
        clock: seconds, never going back.
    """

    def __init__(self, failures: int, cool_down_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = failures
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._trial_at: float | None = None

    @property
    def state(self) -> State:
        """What the next call meets."""
        with self._lock:
            return self._state()

    def allow(self) -> bool:
        """Whether a call may be made now. While half open the first one to ask is the trial: whoever gets True must tell the outcome."""
        with self._lock:
            state = self._state()
            if state == "half_open" and (self._trial_at is None or self._clock() - self._trial_at >= self._cool_down_s):
                self._trial_at = self._clock()
                return True
            return state == "closed"

    def succeeded(self) -> None:
        """A call was answered. One that was begun before the circuit opened does not close it; only a trial does."""
        with self._lock:
            if self._opened_at is None or self._trial_at is not None:
                self._in_a_row, self._opened_at, self._trial_at = 0, None, None

    def failed(self) -> None:
        """A call was not answered. While open, failures of calls begun earlier do not put the next trial off."""
        with self._lock:
            if self._opened_at is not None:
                if self._trial_at is not None:
                    self._opened_at, self._trial_at = self._clock(), None
                return
            self._in_a_row += 1
            if self._in_a_row >= self._most:
                self._opened_at = self._clock()

    def _state(self) -> State:
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._clock() - self._opened_at >= self._cool_down_s else "open"
