"""Which judge: options that every command that judges shares, and the judge that they choose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click
from msgspec import Struct

from offline.chat.client import ChatSpec
from offline.chat.options import chat_options
from offline.chat.prices import Spent
from offline.judge.roles import Judge

FILE = click.Path(dir_okay=False, path_type=Path)


class JudgeChoice(Struct, frozen=True, kw_only=True):
    """What was chosen. ``truth``: for the oracle; ``max_tokens``: of a reply; ``side``: pixels of a picture's longer side; ``recordings``:
    of the endpoint's answers, in the run's directory where None."""

    name: Literal["oracle", "endpoint"]
    truth: Path | None
    chat: ChatSpec
    recordings: Path | None
    max_tokens: int
    side: int

    @contextmanager
    def open(self, samples: Path, out: Path) -> Iterator[tuple[Judge, Callable[[], Spent]]]:
        """The judge, and what it spends. An endpoint finds pictures beside ``samples`` and keeps its answers in ``out``."""
        from models.handbook import load_handbook

        if self.name == "oracle":
            from offline.judge.oracle import OracleJudge
            from offline.simulate.truth import truth_by_note

            if self.truth is None:
                raise click.UsageError("--judge oracle needs --truth, the truth file of the samples' community")
            yield OracleJudge(truth_by_note(self.truth)), Spent
            return
        from offline.chat.client import ChatClient
        from offline.judge.endpoint import EndpointJudge
        from offline.judge.prompts import JudgePrompts

        with ChatClient(self.chat, self.recordings or out / "recordings") as client:
            prompts = JudgePrompts(load_handbook(), samples.parent, self.side)
            yield EndpointJudge(client, prompts, self.max_tokens), lambda: client.spent


def judge_options(command: Callable[..., Any], model: str = "--model") -> Callable[..., Any]:
    """Adds the options; the command gets them as ``choice``. ``model``: as in ``chat_options``."""

    @wraps(command)
    def gathered(
        *args: Any, judge_name: Literal["oracle", "endpoint"], truth: Path | None, judge_tokens: int, judge_side: int, chat: ChatSpec,
        recordings: Path | None, **given: Any,
    ) -> Any:  # fmt: skip
        choice = JudgeChoice(name=judge_name, truth=truth, chat=chat, recordings=recordings, max_tokens=judge_tokens, side=judge_side)
        return command(*args, choice=choice, **given)

    options = [
        click.option(
            "--judge", "judge_name", type=click.Choice(["oracle", "endpoint"]), required=True,
            help="oracle: knows the truth of simulated notes; endpoint: a model behind --endpoint.",
        ),
        click.option("--truth", type=FILE, help="Truth file of simulated notes: the oracle's; with an endpoint it marks tags in reports."),
        click.option("--judge-tokens", type=click.IntRange(min=16), default=1024, show_default=True, help="Most tokens of its reply."),
        click.option("--judge-side", type=click.IntRange(min=32), default=768, show_default=True, help="Pixels of a picture sent to it."),
    ]  # fmt: skip
    decorated = chat_options(gathered, model)
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
