"""``tagstream offline`` and ``tagstream demo``: commands by name, their modules imported only when called."""

import importlib

import click

COMMANDS = {
    "dataset": "offline.convert_dataset:dataset",
    "evaluate-recall": "offline.evaluate_recall:evaluate_recall",
    "sweep-recall": "offline.sweep_recall:sweep_recall",
    "evaluate-tagger": "offline.evaluate_tagger:evaluate_tagger",
}


class Offline(click.Group):
    """Finds a command's module by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Offline)
def offline() -> None:
    """Builds and evaluates what is learned, away from the live path.

    Example: tagstream offline evaluate-tagger offline/samples/notes.jsonl
    """
