"""``tagstream offline judge``."""

from pathlib import Path

import click
import msgspec

from offline.judge.arithmetic import align_judges, pairwise_score
from offline.judge.judge_models import attributes, pairwise
from offline.judge.tables import read_questions, read_verdicts

FILE = click.Path(dir_okay=False, exists=True, path_type=Path)


@click.group()
def judge() -> None:
    """Scores tags by a judge's verdicts, and judges by people's.

    Example: tagstream offline judge score verdicts.csv
    """


judge.add_command(attributes)
judge.add_command(pairwise)


@judge.command()
@click.argument("verdicts", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def score(verdicts: Path, as_json: bool) -> None:
    """Pairwise score by model of a CSV file with the columns model and verdict.

    A verdict is A>>B, A>B, A=B, A<B or A<<B, worth 2 to -2; A is the model, B the reference.

    Example: tagstream offline judge score verdicts.csv --json
    """
    models = {model: pairwise_score(counts) for model, counts in read_verdicts(verdicts).items()}
    if as_json:
        click.echo(msgspec.json.encode({"models": models}))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("model", "pairwise score", "much better", "better", "tied", "worse", "much worse", "n", box=None, header_style="dim")
    for model, one in models.items():
        table.add_row(Text(model), f"{one.ps:+.3f}", *(f"{count:,}" for count in (one.MB, one.B, one.T, one.W, one.MW, one.n)))
    Console().print(table)


@judge.command()
@click.argument("human", type=FILE)
@click.option("--tolerance", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Difference that is still consistent.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def align(human: Path, tolerance: float, as_json: bool) -> None:
    """How far judges agree with people, of a CSV file with the columns item, judge, model, metric, judge_score and human_score.

    MAE is the mean absolute difference; consistency the share that differs by at most the tolerance. The total counts every question
    alike, whichever model it is about. Lines that differ only in human_score are several people's scores of one question.

    Example: tagstream offline judge align human.csv --json
    """
    judges = align_judges(read_questions(human), tolerance)
    if as_json:
        click.echo(msgspec.json.encode({"judges": judges}))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("judge", "model", "metric", "MAE", "consistency", "exact", "sign", "n", box=None, header_style="dim")
    for name, of in judges.items():
        for model, metrics in [*of.models.items(), ("total", of.total)]:
            for metric, one in metrics.items():
                shares = (f"{share:.2%}" for share in (one.consistency, one.exact, one.sign))
                table.add_row(Text(name), Text(model), Text(metric), f"{one.mae:.3f}", *shares, f"{one.n:,}")
    Console().print(table)
