"""``tagstream offline demo-models``: the small models that the demo runs, trained from scratch."""

import click

from schemas.commands import LateGroup

COMMANDS = {
    "speech": "offline.speech.command:speech",
    "speech-data": "offline.speech.command:speech_data",
}


@click.group(cls=LateGroup, table=COMMANDS)
def demo_models() -> None:
    """Trains the demo's models on the simulated community.

    Example: tagstream offline demo-models speech --out speech-model
    """
