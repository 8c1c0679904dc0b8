"""What tokens cost, and what was spent."""

import threading
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas.errors import BadSetting, TagStreamError

PRICES_FILE = Path(__file__).with_name("prices.yaml")
Dollars = Annotated[float, Meta(ge=0)]


class OverBudget(TagStreamError):
    """Another request might cost more than is left of ``--max-cost``."""


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars per million tokens."""

    prompt: Dollars
    completion: Dollars

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """In US dollars."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[str, Price]


class Spent(Struct, frozen=True):
    """What a run asked of an endpoint. ``requests``: answered and paid for; ``recorded``: answered by a recording, for nothing; ``tokens``:
    of the paid ones; ``cost``: US dollars, None where the price table does not know the model."""

    requests: int = 0
    recorded: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class Ledger:
    """Counts what is spent and holds back what open requests may still cost; for any thread.

    Args:
        price: of the model; None: not known.
        max_cost: US dollars that may be spent; 0: no bound.
    """

    def __init__(self, price: Price | None, max_cost: float = 0.0) -> None:
        self._price = price
        self._max_cost = max_cost
        self._open = 0.0
        self._lock = threading.Lock()
        self.spent = Spent(cost=None if price is None else 0.0)

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Holds back the most that a request may cost; whoever asks gives it to ``settle``.

        Raises:
            OverBudget: it might be more than is left.
        """
        if self._price is None or not self._max_cost:
            return 0.0
        most = self._price.cost(prompt_tokens, completion_tokens)
        with self._lock:
            spent = self.spent.cost or 0.0
            if spent + self._open + most > self._max_cost:
                raise OverBudget(
                    f"--max-cost: ${spent:.4f} of ${self._max_cost:.4f} are spent and the next answer may cost ${most:.4f}; give more"
                )
            self._open += most
        return most

    def settle(self, held: float) -> None:
        """The request is over, whatever came of it."""
        with self._lock:
            self._open -= held

    def paid(self, prompt_tokens: int, completion_tokens: int) -> None:
        """An answer came."""
        with self._lock:
            was = self.spent
            cost = None if self._price is None else (was.cost or 0.0) + self._price.cost(prompt_tokens, completion_tokens)
            self.spent = Spent(
                was.requests + 1, was.recorded, was.prompt_tokens + prompt_tokens, was.completion_tokens + completion_tokens, cost
            )

    def replayed(self) -> None:
        """An answer was recorded before."""
        with self._lock:
            self.spent = msgspec.structs.replace(self.spent, recorded=self.spent.recorded + 1)


def load_prices(path: Path | None = None) -> dict[str, Price]:
    """Prices by model; the table shipped (which names none) by default.

    Raises:
        BadSetting: naming the file and the field.
    """
    file = path or PRICES_FILE
    try:
        return msgspec.yaml.decode(file.read_bytes(), type=_Table).models
    except OSError as error:
        raise BadSetting(f"--prices {file}: cannot be read ({error.strerror})") from None
    except msgspec.DecodeError as error:
        raise BadSetting(f"--prices {file}: {error}; write models: {{NAME: {{prompt: 0.0, completion: 0.0}}}}") from None
