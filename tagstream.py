"""The command line's front door: each room's commands, imported only when called."""

import sys

import click

from schemas.commands import LateGroup
from schemas.errors import TagStreamError

COMMANDS = {
    "dev": "deploy.local.cli:dev",
    "topics": "streams.cli:topics",
    "publish": "streams.cli:publish",
    "consume": "consumers.cli:consume",
    "replay": "consumers.replay_cli:replay_command",
    "dead-letters": "consumers.dead_letters_cli:dead_letters",
    "metrics": "consumers.metrics_cli:metrics",
    "note": "consumers.inspect_cli:note",
    "slo": "consumers.slo_cli:slo",
    "canary": "consumers.canary_cli:canary",
    "tag": "consumers.tag_file:tag",
    "profile": "recall.cli:profile",
    "recall": "recall.cli:recall",
    "serve": "recall.serve_cli:serve",
    "bundle": "consumers.rollout_cli:bundle",
    "schemas": "schemas.cli:schemas",
    "settings": "schemas.cli:settings",
    "demo": "offline.show_demo:demo",
    "offline": "offline.cli:offline",
}


@click.group(cls=LateGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="tagstream")
def cli() -> None:
    """Makes a fresh note recallable seconds after publishing, and tells why it was recalled.

    Example: tagstream dev up && tagstream recall u-17 --explain
    """


def main() -> None:
    """Runs a command; an error raised on purpose is one line on stderr and exit status 1."""
    try:
        cli.main(prog_name="tagstream")
    except TagStreamError as error:
        click.echo(f"tagstream: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
