"""``tagstream offline tag-data``: its commands by name, imported only when called."""

import click

from schemas.commands import LateGroup

COMMANDS = {
    "extract": "offline.tag_data.extract_command:extract",
    "split": "offline.tag_data.split_command:split",
    "stats": "offline.tag_data.stats_command:stats",
    "simulated": "offline.tag_data.simulated_command:simulated",
}


@click.group("tag-data", cls=LateGroup, table=COMMANDS)
def tag_data() -> None:
    """Notes with their media and tags, for a small model to learn from.

    Example: tagstream offline tag-data simulated --notes 1000 --out runs/tag-data
    """
