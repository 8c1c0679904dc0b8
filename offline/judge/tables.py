"""Reads the CSV files of ``judge score`` and ``judge align``; a faulty cell is named by its line and column."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from offline.judge.arithmetic import VERDICTS, Question, Verdict
from schemas.errors import BadSetting

HUMAN = ("item", "judge", "model", "metric", "judge_score", "human_score")


def read_verdicts(path: Path) -> dict[str, Counter[Verdict]]:
    """Verdicts by model, counted; columns ``model`` and ``verdict``.

    Raises:
        BadSetting: naming line, column and fix.
    """
    counts: dict[str, Counter[Verdict]] = defaultdict(Counter)
    for line, row in _rows(path, ("model", "verdict")):
        found = [verdict for verdict in VERDICTS if verdict == row["verdict"]]
        if not found:
            raise BadSetting(f"{path} line {line}: verdict: {row['verdict']!r} is none of {' '.join(VERDICTS)}")
        counts[row["model"]][found[0]] += 1
    return dict(counts)


def read_questions(path: Path) -> list[Question]:
    """Scored answers. Several lines of one judge, model, metric and item are one question that several people scored: their mean counts.

    Raises:
        BadSetting: naming line, column and fix.
    """
    people: dict[tuple[str, str, str, str], list[float]] = {}
    scores: dict[tuple[str, str, str, str], float] = {}
    for line, row in _rows(path, HUMAN):
        key = (row["judge"], row["model"], row["metric"], row["item"])
        score = _number(path, line, "judge_score", row["judge_score"])
        if scores.setdefault(key, score) != score:
            raise BadSetting(f"{path} line {line}: judge_score: {score} here, {scores[key]} in an earlier line of the same question")
        people.setdefault(key, []).append(_number(path, line, "human_score", row["human_score"]))
    return [Question(*key, scores[key], math.fsum(given) / len(given)) for key, given in people.items()]


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines with their numbers; cells without white space around them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            if missing := [column for column in columns if column not in names]:
                raise BadSetting(f"{path}: no column {missing[0]}; the first line must name {', '.join(columns)}")
            reader.fieldnames = names
            empty = True
            for row in reader:
                cells = {column: (row[column] or "").strip() for column in columns}
                if absent := [column for column, cell in cells.items() if not cell]:
                    raise BadSetting(f"{path} line {reader.line_num}: {absent[0]}: is empty")
                empty = False
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadSetting(f"{path}: no CSV in UTF-8: {error}") from None
    if empty:
        raise BadSetting(f"{path}: no line below the names of the columns")


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadSetting(f"{path} line {line}: {column}: {cell!r} is no number")
    return value
