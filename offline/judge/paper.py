"""The paper's own figures, to stand beside ours. Its models, notes and judge are others: only the shape of the table can be compared."""

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

FILE = Path(__file__).with_name("paper.yaml")
CATEGORIES = ("shoes", "dressing", "toys", "beauty", "digit")
"""The columns of its Table 2."""


class PaperRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of Table 2 and of appendix C. ``categories``: pairwise score of each."""

    model: str
    stage: Literal["base", "sft", "dpo"]
    total: float
    truth: float
    coverage: float
    importance: float
    ps: float
    MB: int
    B: int
    T: int
    W: int
    MW: int
    categories: dict[str, float]

    @property
    def name(self) -> str:
        """As it is shown beside ours."""
        return f"paper: {self.model} {self.stage}"


@cache
def paper_rows() -> list[PaperRow]:
    """All rows, in the paper's order."""
    return msgspec.yaml.decode(FILE.read_bytes(), type=list[PaperRow])
