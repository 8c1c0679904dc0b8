"""``tagstream offline handbook``: its commands by name, imported only when called."""

import click

from schemas.commands import LateGroup

COMMANDS = {
    "expand": "offline.handbook.commands:expand_command",
    "merge": "offline.handbook.commands:merge_command",
    "validate": "offline.handbook.commands:validate_command",
    "diff": "offline.handbook.commands:diff_command",
    "history": "offline.handbook.commands:history_command",
}


@click.group(cls=LateGroup, table=COMMANDS)
def handbook() -> None:
    """The user interest handbook: a model proposes, experts decide.

    Example: tagstream offline handbook expand --category shoes --endpoint http://127.0.0.1:8000/v1 --model teacher --out runs/expand
    """
