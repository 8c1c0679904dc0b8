"""Commands of this room: ``schemas export`` and ``settings``."""

import json
import sys
from pathlib import Path
from typing import get_args

import click
import msgspec

from schemas.export import export
from schemas.settings import PREFIX, Settings, load, redacted

SECRET = ("milvus_token", "kafka_security", "serve_token")


@click.group()
def schemas() -> None:
    """The event contracts.

    Example: tagstream schemas export schemas/exported --check
    """


@schemas.command("export")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when a file differs from the code.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def export_command(directory: Path, check: bool, as_json: bool) -> None:
    """Write a JSON Schema per event and the AsyncAPI document.

    Example: tagstream schemas export schemas/exported
    """
    report = export(directory, check=check)
    if as_json:
        click.echo(json.dumps(report))
    else:
        for name in report["written"]:
            click.echo(f"written {directory / name}")
        if not report["written"] and not report["stale"]:
            click.echo("every file is current")
    if report["stale"]:
        click.echo(f"differs from the code: {', '.join(report['stale'])}; run `tagstream schemas export {directory}`", err=True)
        sys.exit(1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--markdown", is_flag=True, help="The table of the README.")
def settings(as_json: bool, markdown: bool) -> None:
    """Every setting: its variable, value in force, default and meaning. Credentials are not shown.

    Example: TAGSTREAM_PROFILE_HALF_LIFE_DAYS=7 tagstream settings
    """
    in_force, plain = load(), Settings()
    rows = []
    for field in msgspec.structs.fields(Settings):
        value, default = getattr(in_force, field.name), getattr(plain, field.name)
        if field.name in SECRET and value:
            value = "***"
        if isinstance(value, str):
            value = redacted(value)
        rows.append({"variable": PREFIX + field.name.upper(), "value": value, "default": default, "meaning": _meaning(field.type)})
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False))
    elif markdown:
        click.echo("| variable | default | meaning |\n|---|---|---|")
        for row in rows:
            click.echo(f"| `{row['variable']}` | `{row['default']}` | {row['meaning']} |")
    else:
        _table(rows)


def _meaning(annotation: object) -> str:
    """The description among an annotation's metadata."""
    for item in get_args(annotation):
        if isinstance(item, msgspec.Meta) and item.description:
            return item.description
    return ""


def _table(rows: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("variable", "value", "meaning", box=None, header_style="bold")
    for row in rows:
        changed = row["value"] != row["default"]
        table.add_row(str(row["variable"]), f"[bold green]{row['value']}[/]" if changed else str(row["value"]), str(row["meaning"]))
    Console().print(table)
