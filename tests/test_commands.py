"""The front door: every command is found, explains itself with an example, and imports no heavy library to do so."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from offline.cli import offline
from tagstream import cli

HEAVY = ("torch", "transformers", "pymilvus", "onnxruntime", "cv2", "faust", "pandas")


def commands(group: click.Group, path: tuple[str, ...] = ()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", sorted(commands(cli)), ids=" ".join)
def test_every_command_has_help_with_an_example(path):
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output


def test_an_unknown_command_is_wrong_usage():
    assert CliRunner().invoke(cli, ["no-such-command"]).exit_code == 2
    assert CliRunner().invoke(offline, ["no-such-command"]).exit_code == 2


def test_help_and_profile_import_nothing_heavy():
    """What a command does not need is not imported on its way in."""
    program = (
        "import sys; from click.testing import CliRunner; from tagstream import cli; "
        "[CliRunner().invoke(cli, [*path, '--help']) for path in ([], ['profile'], ['recall'], ['consume'], ['demo'], "
        "['slo'], ['canary'])]; "
        f"print(sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
