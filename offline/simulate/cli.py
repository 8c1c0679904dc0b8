"""``tagstream offline simulate``: its commands by name, imported only when called."""

import click

from schemas.commands import LateGroup

COMMANDS = {
    "notes": "offline.simulate.write_commands:notes_command",
    "interactions": "offline.simulate.write_commands:interactions_command",
    "dataset": "offline.simulate.write_commands:dataset_command",
    "ab": "offline.simulate.ab_command:ab_command",
}


@click.group(cls=LateGroup, table=COMMANDS)
def simulate() -> None:
    """A made-up community whose truth is known: what each note is about, and what tells it.

    Example: tagstream offline simulate notes --notes 1000 --media media --out notes.jsonl && tagstream publish notes notes.jsonl
    """
