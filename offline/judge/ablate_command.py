"""``tagstream offline ablate``."""

from pathlib import Path

import click
import msgspec

from offline.judge.choose import FILE, JudgeChoice, judge_options
from offline.judge.judge_models import CHUNK, shown_progress
from offline.run_manifest import run_manifest
from offline.whole_file import write_json


@click.command("ablate")
@click.argument("tagger", metavar="MODEL")
@click.argument("samples", type=FILE)
@judge_options
@click.option("--reference", type=FILE, help="Predictions to compare with; the samples' own tags by default.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory for predictions, judgements, plot.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N samples only.")
@click.option("--guards/--no-guards", default=True, show_default=True, help="Evidence, contradictions and aliases, as the settings say.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Notes at a time.")
@click.option("--max-tags", type=click.IntRange(min=1), default=10, show_default=True, help="Tags of a note at most.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16 or float16.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def ablate(
    *, tagger: str, samples: Path, reference: Path | None, out: Path, limit: int | None, guards: bool, batch: int, max_tags: int,
    device: str, dtype: str, as_json: bool, choice: JudgeChoice,
) -> None:  # fmt: skip
    """What MODEL's tags are worth without the notes' text, images, products or speech.

    The model tags SAMPLES once with all and once without each; every answer is judged on the whole note. Text is title and body, images
    are pictures and frames. OUT gets ablation.json, ablation.svg and ablation.png; a run that was stopped goes on where it was.

    Example: tagstream offline ablate runs/dpo/model eval.jsonl --judge oracle --truth truth.jsonl --out runs/ablation
    """
    from offline.judge.ablate import MODALITIES, judge_ablation, most_critical, name_of
    from offline.judge.ablate_plot import draw
    from offline.judge.answers import read_judged
    from offline.judge.files import files_from
    from offline.judge.show import show_ablation

    found = {name_of(one): out / f"{one or 'all'}.jsonl" for one in (None, *MODALITIES)}
    options = {"model": tagger, "samples": samples, "reference": reference, "limit": limit, "guards": guards, "judge": choice}
    with (
        choice.open(samples, out) as (judge, spent),
        run_manifest(out, "tagstream offline ablate", options, {"judge": judge.version}, spent) as manifest,
    ):
        _infer(tagger, samples, out, limit=limit, guards=guards, batch=batch, max_tags=max_tags, device=device, dtype=dtype)
        given = read_judged(samples, [f"{name}={path}" for name, path in found.items()], reference, limit)
        with shown_progress("answers judged", (len(given.samples) + len(given.references)) * len(found)) as advance:
            conditions = judge_ablation(judge, given, out, chunk=CHUNK, advance=advance)
        manifest.counts = {"samples": len(given.samples)}
    for ending in ("svg", "png"):
        draw(conditions, f"{Path(tagger).name} without a modality, {len(given.samples):,} notes", out / f"ablation.{ending}")
    report = {
        "model": tagger, "judge": judge.version, "samples": len(given.samples), "most_critical": most_critical(conditions),
        "conditions": conditions, "files": files_from(out, samples, found, reference, choice.truth),
    }  # fmt: skip
    write_json(out / "ablation.json", report)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        show_ablation(conditions)


def _infer(
    model: str, samples: Path, out: Path, *, limit: int | None, guards: bool, batch: int, max_tags: int, device: str, dtype: str
) -> None:
    """Predictions of each condition, as far as they are not there."""
    from models.vlm_model import open_vlm
    from models.vlm_tagger import Bounds
    from offline.distil.infer import infer
    from offline.judge.ablate import MODALITIES

    loaded = open_vlm(model, device, dtype)
    with samples.open("rb") as file:
        total = sum(1 for _ in file)
    with shown_progress("notes tagged", min(total, limit or total) * (len(MODALITIES) + 1)) as advance:
        for one in (None, *MODALITIES):
            before = 0

            def say(done: int) -> None:
                nonlocal before
                advance(done - before)
                before = done

            infer(
                loaded, samples, out / f"{one or 'all'}.jsonl", without=frozenset([one] if one else []), guards=guards,
                bounds=Bounds(batch=batch), limit=limit or 0, max_tags=max_tags, say=say,
            )  # fmt: skip
