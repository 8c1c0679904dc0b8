"""``tagstream offline demo-models``: its commands by name, imported only when called."""

import click

from schemas.commands import LateGroup

COMMANDS = {
    "speech": "offline.speech.command:speech",
    "speech-data": "offline.speech.command:speech_data",
    "vlm-data": "offline.demo_models.vlm_command:vlm_data_command",
    "vlm-evaluate": "offline.demo_models.vlm_command:vlm_evaluate_command",
    "vlm": "offline.demo_models.vlm_command:vlm_command",
}


@click.group(cls=LateGroup, table=COMMANDS)
def demo_models() -> None:
    """Trains the demo's models from scratch on the simulated community. They know nothing else.

    Example: tagstream offline demo-models vlm-data --out runs/data && tagstream offline demo-models vlm --data runs/data --out runs/vlm
    """


if __name__ == "__main__":
    demo_models()
