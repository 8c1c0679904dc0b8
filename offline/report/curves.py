"""Curves of training runs, as their trainers log them, drawn as small pictures within the page."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from offline.report.markup import panel, section, text
from offline.report.runs import label

STATE = "trainer_state.json"
SHOWN = {
    "loss": "loss",
    "eval_loss": "loss held out",
    "rewards/accuracies": "chosen preferred",
    "logps/chosen": "log probability of chosen",
    "logps/rejected": "log probability of rejected",
}
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 300, 150, 46, 20, 12
Points = list[tuple[float, float]]


def curves(directories: Sequence[Path]) -> dict[Path, dict[str, Points]]:
    """(step, value) of each curve, by run: of every directory with checkpoints the state of the last one."""
    newest: dict[Path, Path] = {}
    for path in sorted({path.resolve() for directory in directories for path in directory.rglob(STATE)}, key=_step):
        newest[path.parent.parent] = path
    return {run: found for run, path in sorted(newest.items()) if (found := _read(path))}


def curves_section(found: dict[Path, dict[str, Points]]) -> str:
    """One panel a run."""
    parts = []
    for run, named in found.items():
        name = label(run.parent if run.name == "checkpoints" else run)
        drawn = "".join(drawing(SHOWN[key], points) for key, points in named.items())
        parts.append(panel(f"<h3>{text(name)}</h3>", f'<div class="curves">{drawn}</div>'))
    return section("Training", "By step, as the trainers logged it up to their last checkpoint.", *parts)


def drawing(title: str, points: Points) -> str:
    """A line over steps with the ends of both axes."""
    (steps, values) = ([step for step, _ in points], [value for _, value in points])
    low, high = min(values), max(values)
    across, up = max(steps[-1] - steps[0], 1e-9), max(high - low, 1e-9)
    places = [
        (LEFT + (step - steps[0]) / across * (WIDTH - LEFT - 8), HEIGHT - BOTTOM - (value - low) / up * (HEIGHT - BOTTOM - TOP - 14))
        for step, value in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    labels = [
        (LEFT - 6, HEIGHT - BOTTOM, "end", f"{low:.3g}"),
        (LEFT - 6, TOP + 18, "end", f"{high:.3g}"),
        (LEFT, HEIGHT - 5, "start", f"{steps[0]:g}"),
        (WIDTH - 8, HEIGHT - 5, "end", f"{steps[-1]:g}"),
    ]
    written = "".join(f'<text x="{x}" y="{y}" text-anchor="{to}" class="tick">{text(label)}</text>' for x, y, to, label in labels)
    head = f'<text x="{LEFT}" y="{TOP}" class="head">{text(title)}</text>'
    drawn = f'<path d="M{LEFT} {TOP + 8}V{HEIGHT - BOTTOM}H{WIDTH - 8}" class="axis"/><polyline points="{line}" class="line"/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{head}{drawn}{written}</svg>'


def _read(path: Path) -> dict[str, Points]:
    """The curves of a trainer's state that have two points; none where the file is no such state."""
    try:
        history = msgspec.json.decode(path.read_bytes())["log_history"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return {}
    found: dict[str, Points] = {}
    for entry in history:
        for key in SHOWN:
            if isinstance(entry.get(key), int | float):
                found.setdefault(key, []).append((float(entry.get("step", 0)), float(entry[key])))
    return {key: found[key] for key in SHOWN if len(found.get(key, ())) > 1}


def _step(path: Path) -> tuple[str, int]:
    number = path.parent.name.rpartition("-")[2]
    return str(path.parent.parent), int(number) if number.isdecimal() else 0
