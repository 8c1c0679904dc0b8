"""``tagstream offline demo-models speech-data`` and ``speech``."""

import os
from functools import partial
from pathlib import Path

import click
import msgspec

from offline.speech.render import RenderSpec

tell = partial(click.echo, err=True)
SPOKEN = RenderSpec(voices=128, renders=14, tests=200, trials=200, whole=24)


@click.command("speech-data", epilog="Example: tagstream offline demo-models speech-data --out speech-data --voices 24 --renders 3")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory; what is there is kept.")
@click.option("--voices", type=click.IntRange(min=1), default=SPOKEN.voices, show_default=True, help="That train, of each language.")
@click.option("--renders", type=click.IntRange(min=1), default=SPOKEN.renders, show_default=True, help="How often each phrase is said.")
@click.option("--tests", type=click.IntRange(min=1), default=SPOKEN.tests, show_default=True, help="Test sentences of each language.")
@click.option("--trials", type=click.IntRange(min=1), default=SPOKEN.trials, show_default=True, help="Others, to choose settings by.")
@click.option("--whole", type=click.IntRange(min=1), default=SPOKEN.whole, show_default=True, help="Notes that each says as a whole.")
@click.option("--phrases", type=click.IntRange(min=0), default=0, show_default=True, help="Phrases that are said; 0 = all.")
@click.option("--seed", type=int, default=SPOKEN.seed, show_default=True, help="Of who says what.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes; by default one a core.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def speech_data(
    *, out: Path, voices: int, renders: int, tests: int, trials: int, whole: int, phrases: int, seed: int, workers: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Render what the simulated community says, by espeak-ng, as features. Killed, it goes on where it was."""
    from offline.speech.render import files_of, render, sizes

    spec = RenderSpec(seed=seed, voices=voices, renders=renders, tests=tests, trials=trials, whole=whole, phrases=phrases)
    render(out, spec, workers or os.cpu_count() or 1, tell)
    clauses, seconds = sizes(list(files_of(out, "[ze][hn]-*.npz")))
    if as_json:
        click.echo(msgspec.json.encode({"out": str(out), "clauses": clauses, "hours": round(seconds / 3600, 2)}))
    else:
        tell(f"{out}: {clauses:,} clauses, {seconds / 3600:.2f} h")


@click.command(epilog="Example: tagstream offline demo-models speech --out speech-model --data speech-data --device cuda --seconds 560")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the model.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="From speech-data; by default rendered into OUT/data.")
@click.option("--device", default="cpu", show_default=True, help="torch device.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of weights and batches.")
@click.option("--steps", type=click.IntRange(min=1), default=6000, show_default=True, help="Batches that train at most.")
@click.option("--seconds", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Training time at most; 0 = no limit.")
@click.option("--batch", type=click.IntRange(min=1), default=192, show_default=True, help="Sentences a batch.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=1.5e-3, show_default=True, help="Highest learning rate.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes that put sentences together; by default 4 for a GPU, else none.")
@click.option("--resume", is_flag=True, help="Go on where a killed run was.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def speech(
    *, out: Path, data: Path | None, device: str, seed: int, steps: int, seconds: float, batch: int, rate: float,
    workers: int | None, resume: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train a small SenseVoice on the voices of the simulated community.

    Writes config.yaml, bpe.model, am.mvn, model.pt and figures.json, with the character error rate on whole sentences by voices that did
    not train, and on others, to choose settings by. `tagstream offline transcriber export OUT --out DIR` makes of it what is committed.
    """
    from offline.speech.render import render
    from offline.speech.training import TrainSpec, train

    if data is None:
        data = out / "data"
        render(data, SPOKEN, os.cpu_count() or 1, tell)
    if workers is None:
        workers = 4 if device.startswith("cuda") else 0
    spec = TrainSpec(seed=seed, steps=steps, seconds=seconds, batch=batch, rate=rate, device=device, workers=workers)
    figures = train(data, out, spec, tell, resume=resume)
    if as_json:
        click.echo(msgspec.json.encode(figures))
    else:
        tell(f"{out}: character error rate {', '.join(f'{rate:.2%} ({language})' for language, rate in figures.cer.items())}")
