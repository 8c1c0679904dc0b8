"""``tagstream dev``: the stack on one machine without containers."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from deploy.local.stack import PartStatus, Progress, Stack
from schemas.errors import MissingPrerequisite
from schemas.settings import PREFIX, given_urls, load

STYLES = {"running": "green", "configured": "cyan", "starting": "yellow", "crashed": "red", "stopped": "dim"}


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The two options that every command of the group has."""
    command = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(command)
    return click.option(
        "--data", type=click.Path(file_okay=False, path_type=Path), help="Data directory (default: the setting, .tagstream)."
    )(command)


@click.group()
def dev() -> None:
    """Runs Kafka, Redis and Milvus on this machine, without containers, on free ports of the loopback interface.

    A part that a setting names by URL is used instead of started.

    Example: tagstream dev up && eval "$(tagstream dev env)"
    """


@dev.command()
@options
def up(data: Path | None, as_json: bool) -> None:
    """Starts what does not run and waits until all of it answers; running parts are kept.

    Example: tagstream dev up --data /tmp/ts --json
    """
    _show(_stack(data).up(_progress()), as_json)


@dev.command()
@options
def down(data: Path | None, as_json: bool) -> None:
    """Stops what `up` started under this data directory; data and ports are kept.

    Example: tagstream dev down
    """
    _show(_stack(data).down(_progress()), as_json)


@dev.command()
@options
def status(data: Path | None, as_json: bool) -> None:
    """Shows each part's address, state and process.

    Example: tagstream dev status --json
    """
    _show(_stack(data).status(), as_json)


@dev.command()
@options
def env(data: Path | None, as_json: bool) -> None:
    """Prints the settings that make other programs use this stack.

    Example: eval "$(tagstream dev env)"
    """
    urls = {PREFIX + name.upper(): url for name, url in _stack(data).urls().items()}
    if not urls:
        raise MissingPrerequisite(f"no stack runs under {_directory(data)}: start it by `tagstream dev up`")
    if as_json:
        click.echo(json.dumps(urls))
        return
    for name, url in urls.items():
        click.echo(f"export {name}={shlex.quote(url)}")


def _directory(data: Path | None) -> Path:
    return data or Path(load().data)


def _stack(data: Path | None) -> Stack:
    return Stack(_directory(data), given_urls())


def _progress() -> Progress:
    console = Console(stderr=True)

    def tell(part: str, text: str) -> None:
        console.print(f"[bold]{part:<7}[/bold] {text}", highlight=False, soft_wrap=True)

    return tell


def _show(parts: Mapping[str, PartStatus], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(parts)))
        return
    table = Table("part", "state", "pid", "address", box=None)
    for name, part in parts.items():
        style = STYLES[part.state]
        table.add_row(name, f"[{style}]{part.state}[/{style}]", str(part.pid or "-"), part.url or "-")
    Console().print(table)
