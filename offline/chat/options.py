"""The options of every command that asks a chat endpoint."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from offline.chat.client import ChatSpec

ENDPOINT = click.option(
    "--endpoint",
    "url",
    envvar="TAGSTREAM_CHAT_ENDPOINT",
    show_envvar=True,
    default="",
    metavar="URL",
    help="OpenAI-compatible chat endpoint, as http://127.0.0.1:8000/v1; its key is OPENAI_API_KEY alone.",
)
OPTIONS = (
    click.option("--concurrency", type=click.IntRange(1, 1024), default=8, show_default=True, help="Requests at a time."),
    click.option("--requests-per-min", type=click.IntRange(min=0), default=0, help="Most requests a minute; 0 for no limit."),
    click.option("--tokens-per-min", type=click.IntRange(min=0), default=0, help="Most tokens a minute; 0 for no limit."),
    click.option(
        "--structured",
        type=click.Choice(["json_schema", "vllm", "off"]),
        default="json_schema",
        show_default=True,
        help="How an answer's schema is sent.",
    ),
    click.option("--max-cost", type=click.FloatRange(min=0), default=0.0, help="US dollars this run may spend; 0 for no bound."),
    click.option(
        "--recordings",
        type=click.Path(path_type=Path, file_okay=False),
        help="Directory of answers given before; new ones are added, so that none is paid for twice.",
    ),
    click.option("--replay-only", is_flag=True, help="Answer from --recordings alone and ask nobody."),
    click.option(
        "--prices",
        type=click.Path(dir_okay=False, exists=True),
        help="YAML file of US dollars per million tokens, of the form of offline/chat/prices.yaml.",
    ),
)


def chat_options(command: Callable[..., Any], model: str = "--model") -> Callable[..., Any]:
    """Adds the options; the command gets them as ``chat`` (a ChatSpec) and ``recordings`` (a path or None).

    What is missing is said by ``ChatClient``, so that a command that may do without an endpoint can use these options too.
    ``model``: what the option of the endpoint's model is called, where a command has a ``--model`` of its own.
    """

    @wraps(command)
    def gathered(*args: Any, recordings: Path | None, **given: Any) -> Any:
        spec = {name: given.pop(name) for name in ChatSpec.__struct_fields__ if name in given}
        return command(*args, chat=ChatSpec(**spec), recordings=recordings, **given)

    named = click.option(
        model, "model", envvar="TAGSTREAM_CHAT_MODEL", show_envvar=True, default="", help="Name by which the endpoint knows the model."
    )
    for option in reversed((ENDPOINT, named, *OPTIONS)):
        gathered = option(gathered)
    return gathered
