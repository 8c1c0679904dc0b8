"""Which judge: options that every command that judges shares, and the judge that they choose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from offline.judge.roles import Judge

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(dir_okay=False, path_type=Path)


def judge_options(command: F) -> F:
    """Options ``judge_name`` and ``truth``."""
    options = [
        click.option(
            "--judge", "judge_name", type=click.Choice(["oracle"]), required=True, help="oracle: knows the truth of simulated notes."
        ),
        click.option("--truth", type=FILE, help="Of --judge oracle: truth file of the samples' community."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def open_judge(*, judge_name: str, truth: Path | None, samples: Path, out: Path) -> Judge:  # noqa: ARG001
    """The judge chosen; an endpoint finds pictures beside ``samples`` and keeps its answers in ``out``."""
    from offline.judge.oracle import OracleJudge
    from offline.simulate.truth import truth_by_note

    if truth is None:
        raise click.UsageError("--judge oracle needs --truth, the truth file of the samples' community")
    return OracleJudge(truth_by_note(truth))
