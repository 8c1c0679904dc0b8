"""A command group that imports a command's module only when the command is called, so that no command waits for another's libraries."""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LateGroup(click.Group):
    """``table``: command name -> ``module:attribute``."""

    def __init__(self, *args: Any, table: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, _, attribute = self._table[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command
