"""How far one text is from another."""

from collections.abc import Iterable, Sequence


def edits(left: Sequence[object], right: Sequence[object]) -> int:
    """Levenshtein distance: insertions, deletions and substitutions that turn one sequence into the other.

    >>> edits("kitten", "sitting")
    3
    """
    if len(left) < len(right):
        left, right = right, left
    row = list(range(len(right) + 1))
    for at, item in enumerate(left, start=1):
        before, row[0] = row[0], at
        for place, other in enumerate(right, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (item != other))
    return row[-1]


def error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Character error rate over (true, found) texts: edits per true character, spaces aside. 0 for no characters at all."""
    wrong = total = 0
    for true, found in pairs:
        characters = "".join(true.split())
        wrong += edits(characters, "".join(found.split()))
        total += len(characters)
    return wrong / total if total else 0.0
