"""``tagstream bundle build|verify|list``; what compares and switches bundles is in ``consumers/rollout_cli.py``."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct

from recall.cli import DATA, JSON, console, print_json
from recall.live_bundle import BUNDLES
from schemas.errors import BadSetting, BundleMismatch, Transient
from schemas.settings import Settings, load


class Listed(Struct, frozen=True):
    """One bundle. ``state``: ``live``, ``shadow`` (on the servers beside the live one), ``built`` or ``broken``; ``parts``: version,
    dimension and megabytes by part; ``faults``: what disagrees."""

    bundle: str
    state: str
    hashes_ok: bool
    parts: dict[str, dict[str, Any]]
    path: str
    faults: list[str]


@click.command()
@click.option(
    "--space", "spaces", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Directory of a learned space."
)
@click.option("--merge", type=click.Path(exists=True, dir_okay=False, path_type=Path), help='JSON file: {"weights": {"two_tower": 1.0}}.')
@click.option(
    "--handbook",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of another handbook than the shipped one: its YAML files, one per category, and shared.yaml.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Directory to make; default DATA/bundles/VERSION.")
@JSON
@DATA
def build(
    *, spaces: tuple[Path, ...], merge: Path | None, handbook: Path | None, out: Path | None, as_json: bool, data: str | None
) -> None:
    """Build a bundle of handbook, tagger and the settings' tag encoder, with learned spaces and merge weights.

    A build that was stopped goes on where it was; the same parts built again give the same version and change nothing. Set TAGSTREAM_BUNDLE
    to the directory for consumers and recall to use it.

    Example: tagstream bundle build --space towers/two_tower --merge towers/merge.json
    """
    from models.bundle_build import build_bundle

    settings = load(data=data)
    _check_channels(spaces, merge)
    made = build_bundle(settings, spaces, merge, out, lambda text: click.echo(text, err=True), handbook=handbook)
    _show([_look(made, _on_servers(settings)[0])], as_json)


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@JSON
@DATA
def verify(directory: Path | None, as_json: bool, data: str | None) -> None:
    """Hash every file of a bundle anew and name what disagrees with its manifest; exit 1 when anything does.

    DIRECTORY is by default the bundle of TAGSTREAM_BUNDLE.

    Example: tagstream bundle verify .tagstream/bundles/b0123456789
    """
    settings = load(data=data)
    chosen = directory or (Path(settings.bundle) if settings.bundle else None)
    if chosen is None:
        raise click.UsageError("give the DIRECTORY of a bundle, or set TAGSTREAM_BUNDLE")
    found = _look(chosen, _on_servers(settings)[0])
    _show([found], as_json)
    for fault in found.faults:
        click.echo(f"tagstream: {fault}", err=True)
    if found.faults:
        sys.exit(1)


@click.command("list")
@JSON
@DATA
def list_bundles(as_json: bool, data: str | None) -> None:
    """Show the bundles under DATA/bundles, that of TAGSTREAM_BUNDLE and those on the servers, and which is live.

    Works without a server too, but cannot say then which is live.

    Example: tagstream bundle list --json
    """
    settings = load(data=data)
    root = Path(settings.data, BUNDLES)
    found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")) if root.is_dir() else []
    if settings.bundle and Path(settings.bundle).resolve() not in {path.resolve() for path in found}:
        found.append(Path(settings.bundle))
    states, directories = _on_servers(settings)
    looked = [_look(path, states) for path in found]
    for version in sorted(states.keys() - {one.bundle for one in looked}):
        place = Path(directories.get(version) or "-")
        looked.append(_look(place, states) if place.is_dir() else Listed(version, states[version], True, {}, str(place), []))
    _show(looked, as_json)


def _look(directory: Path, states: Mapping[str, str]) -> Listed:
    """A bundle with everything that disagrees in it."""
    from models.bundle_faults import faults_of
    from models.bundle_manifest import read_manifest

    try:
        manifest = read_manifest(directory)
        faults = [str(fault) for fault in faults_of(directory)]
    except BundleMismatch as error:
        return Listed(directory.name, "broken", False, {}, str(directory), [str(error)])
    parts = {
        name: {
            "version": part.version,
            **({"dimension": part.dimension} if part.dimension else {}),
            "files": len(part.files),
            "megabytes": round(sum(entry.bytes for entry in part.files.values()) / 1e6, 3),
        }
        for name, part in sorted(manifest.parts.items())
    }
    state = "broken" if faults else states.get(manifest.version, "built")
    return Listed(manifest.version, state, not faults, parts, str(directory), faults)


def _on_servers(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """State and directory by version of the bundles on the servers; a line on stderr when Redis does not answer."""
    from recall.pointer import active_bundle, registered
    from recall.redis_client import redis_client

    states: dict[str, str] = {}
    try:
        client = redis_client(settings)
        if live := active_bundle(client, settings):
            states[live] = "live"
        known = registered(client, settings)
        return dict.fromkeys(known, "shadow") | states, {version: entry.directory for version, entry in known.items()}
    except Transient as error:
        click.echo(f"which bundle is live is not known: {error}", err=True)
        return states, {}


def _check_channels(spaces: Sequence[Path], merge: Path | None) -> None:
    """Spaces become channels, and merge weights must name channels that the bundle will have."""
    from models.bundle_manifest import SPACE_FILE, MergeWeights, SpaceCard, read_card
    from recall.channels import CHANNELS

    names = [read_card(directory / SPACE_FILE, SpaceCard).name for directory in spaces]
    for name in names:
        if name in CHANNELS:
            raise BadSetting(f"--space: {name} is the name of a channel without learning; name the space otherwise")
    for name in read_card(merge, MergeWeights).weights if merge else ():
        if name not in names and name not in CHANNELS:
            raise BadSetting(f"--merge: $.weights.{name}: no such channel; this bundle has {', '.join((*names, *CHANNELS))}")


def _show(found: list[Listed], as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    from rich.table import Table

    table = Table("bundle", "state", "parts", "MB", "path", box=None, header_style="bold")
    colours = {"live": "green", "shadow": "cyan", "broken": "red"}
    for one in found:
        megabytes = sum(part["megabytes"] for part in one.parts.values())
        colour = colours.get(one.state, "default")
        table.add_row(one.bundle, f"[{colour}]{one.state}[/]", ", ".join(one.parts), f"{megabytes:.0f}", one.path)
    console().print(table if found else "No bundle here yet: `tagstream bundle build` makes one.")
