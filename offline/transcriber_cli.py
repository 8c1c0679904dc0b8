"""``tagstream offline transcriber``: a speech model made fast, and measured."""

import sys
from functools import partial
from pathlib import Path
from typing import get_args

import click
import msgspec

from models.transcriber.files import Precision

tell = partial(click.echo, err=True)
INT8_CER = 0.01


@click.group()
def transcriber() -> None:
    """Exports a speech model to ONNX and measures it on the voices of the simulated community.

    Example: tagstream offline transcriber export SenseVoiceSmall --out sensevoice-onnx voice.wav
    """


@transcriber.command(epilog="Example: tagstream offline transcriber export SenseVoiceSmall --out sensevoice-onnx voice.wav clip.mp4")
@click.argument("model_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("sounds", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the exported model.")
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="both",
    show_default=True,
    help="int8: a quarter of the size, the fastest; now and then another letter. both: float32 hears again what int8 doubts.",
)
@click.option("--cer", "most", type=click.FloatRange(0, 1), help=f"Difference that passes; by default 0, with int8 alone {INT8_CER}.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def export(*, model_dir: Path, sounds: tuple[Path, ...], out: Path, precision: Precision, most: float | None, as_json: bool) -> None:
    """Write MODEL_DIR (a SenseVoice in torch) as ONNX, and compare the texts of SOUNDS, audio files or videos.

    Exit status 1 when the texts differ by more than --cer: edits per character.
    """
    from models.sound import open_sound
    from models.transcriber.export import export as write
    from models.transcriber.export import parity

    heard = [open_sound(path).samples for path in sounds]
    files = write(model_dir, out, precision=precision)
    found = parity(model_dir, files, heard)
    passes = found.cer <= ((INT8_CER if precision == "int8" else 0.0) if most is None else most)
    networks = [files.weights, *([files.exact] if files.exact else [])]
    size = sum(path.stat().st_size for path in networks)
    if as_json:
        document = {"out": str(out), "weights": [path.name for path in networks], "bytes": size, "parity": found, "passes": passes}
        click.echo(msgspec.json.encode(document))
    else:
        names = " and ".join(path.name for path in networks)
        tell(f"{out}: {names}, {size / 1e6:.2f} MB; {found.same} of {found.sounds} sounds say the same, difference {found.cer:.3%}")
    if not passes:
        for difference in found.differences[:5]:
            tell(f"{sounds[difference.index]}: torch {difference.torch}, onnxruntime {difference.onnx}")
        tell("tagstream: the exported model says something else than the one in torch; give --cer to let it pass")
        sys.exit(1)


@transcriber.command(epilog="Example: tagstream offline transcriber evaluate demo --sentences 50")
@click.argument("model")
@click.option("--sentences", type=click.IntRange(min=1), default=200, show_default=True, help="Test sentences of each language.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of sentences and voices; 7 is what speech-data keeps for the test.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="JSON of the figures, with every wrong sentence.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate(*, model: str, sentences: int, seed: int, out: Path | None, as_json: bool) -> None:
    """Let MODEL (as the setting transcriber_model) hear sentences of the simulated community by voices that did not train the demo model.

    From sound to text as in service, voices found and cut included. Needs espeak-ng.
    """
    from offline.speech.evaluate import evaluate as measure

    figures = measure(model, sentences, seed, tell)
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    if as_json:
        click.echo(msgspec.json.encode(figures))
    else:
        for name, found in figures.languages.items():
            right = f"{found.right} of {found.sentences} sentences right"
            tell(f"{name}: character error rate {found.cer:.2%}, {right}, language told in {found.language_told:.0%}")
