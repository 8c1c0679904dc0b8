"""How runs are summed up and kept: ratios within a run, targets by the median, other benchmarks' figures untouched."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.report import Measured, Row, Spread, read_results, render, sum_up, write_results


def row(ours: float, peer: float | None = None, **target: float) -> Row:
    return Row(what="a", unit="x/s", ours=ours, peer=peer, peer_name="p", **target)  # type: ignore[arg-type]


def test_a_ratio_is_formed_within_each_run() -> None:
    (result,) = sum_up([[row(30, 10, ratio_at_least=3)], [row(10, 2, ratio_at_least=3)], [row(40, 20, ratio_at_least=3)]])
    assert result.ratio == Spread(3, 2, 5)
    assert result.ours == Spread(30, 10, 40)
    assert (result.target, result.met, result.runs) == ("ratio >= 3", True, 3)


@pytest.mark.parametrize(
    ("measured", "met"),
    [
        (row(2, 1, ratio_at_least=3), False),
        (row(2, None, ratio_at_least=3), None),
        (row(2, at_most=2), True),
        (row(2, at_most=1), False),
        (row(2, at_least=3), False),
        (row(2), None),
    ],
)
def test_targets_are_judged(measured: Row, met: bool | None) -> None:
    assert sum_up([[measured]])[0].met is met


def test_runs_that_disagree_are_refused() -> None:
    other = Row(what="b", unit="x/s", ours=1)
    with pytest.raises(ValueError, match="different rows"):
        sum_up([[row(1)], [other]])
    with pytest.raises(ValueError, match="share a name"):
        sum_up([[row(1), row(2)]])


def test_results_are_read_back_and_rendered(tmp_path: Path) -> None:
    measured = {"memory": Measured("a machine", sum_up([[row(1234.5, 100, ratio_at_least=3)], [row(1000, 500, ratio_at_least=3)]]))}
    write_results(tmp_path, measured)
    assert read_results(tmp_path / "results.json") == measured
    assert "| a | x/s | 1,117 [1,000, 1,234] | p | 300 [100, 500] | 7.17 [2, 12.3] | ratio >= 3 | yes | 2 |" in render(measured)
    assert read_results(tmp_path / "none.json") == {}


def test_an_unknown_benchmark_is_refused_by_name() -> None:
    answer = CliRunner().invoke(main, ["nothing"])
    assert answer.exit_code == 2
    assert "there are: interactions_to_profiles" in answer.output
