"""Distillation from end to end at a tiny size, on the simulated community: the very commands, one after the other.

One teacher that errs makes all references. Per family: base, SFT, preference pairs from the SFT model's own inferior answers, DPO; then all
three models answer the held-out notes and the oracle judges them. What a step wrote is not made again.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from offline.distil.gains import gains
from schemas.errors import TagStreamError

Family = Literal["qwen", "internvl"]
BASES: dict[Family, Path] = {
    family: Path(__file__).parents[2] / "models" / "demo" / f"base-{family}" for family in ("qwen", "internvl")
}  # fmt: skip
TITLES: dict[Family, str] = {"qwen": "Qwen3-VL", "internvl": "InternVL3.5"}
CATEGORIES = ("shoes", "dressing", "toys", "beauty", "digit")
STAGES = ("base", "sft", "dpo")
UNGUARDED = "unguarded"
STDERR = 2  # where the steps' own tables go: stdout is for the one at the end
POOL_AT, EVAL_AT = 100_000, 200_000  # numbers of the first notes; the base models have seen other communities


class Plan(Struct, frozen=True, kw_only=True):
    """Sizes and rates. ``noise``: how much the teacher errs. The rates are not the paper's, whose models are a thousand times larger;
    what other ones gave is in ``offline/LOG.md``."""

    families: tuple[Family, ...] = ("qwen", "internvl")
    seed: int = 43
    sft: int = 3000
    pool: int = 1000
    held_out: int = 600
    noise: float = 0.2
    epochs: float = 3
    sft_rate: float = 1e-3
    dpo_rate: float = 3e-5
    beta: float = 0.1
    sft_weight: float = 1
    device: str = "auto"


class Step(Struct, frozen=True):
    """A command under ``tagstream offline``; ``made``: the file whose presence says that it is done."""

    words: list[str]
    made: Path


class StepFailed(TagStreamError):
    """A command ended with an error; it has said which."""


def steps(plan: Plan, out: Path) -> Iterator[Step]:
    """All of them, in order."""
    data = out / "data"
    for name, first, notes in (("sft", 0, plan.sft), ("pool", POOL_AT, plan.pool), ("eval", EVAL_AT, plan.held_out)):
        words = ["tag-data", "simulated", "--seed", plan.seed, "--first", first, "--notes", notes, "--noise", plan.noise]
        words += ["--categories", ",".join(CATEGORIES), "--drawn", out / "drawn", "--out", data / name]
        yield _step(words, data / name / "samples.jsonl")
    for family in plan.families:
        yield from _family(plan, family, data, out / family)
    pages = [out / family / part for family in plan.families for part in ("judged", "ablation", "sft", "dpo")]
    yield _step(["report", *pages, "--out", out / "report.html"], out / "report.html")


def run(plan: Plan, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs what is left to do and returns the table.

    Raises:
        StepFailed: naming the command.
    """
    for step in steps(plan, out):
        line = f"tagstream offline {shlex.join(step.words)}"
        if step.made.is_file():
            say(f"done before: {line}")
            continue
        say(f"$ {line}")
        if subprocess.run([sys.executable, "-m", "tagstream", "offline", *step.words], check=False, stdout=STDERR).returncode:
            raise StepFailed(f"failed: {line}")
    table = table_of(plan, out)
    (out / "table.json").write_text(json.dumps(table, indent=1) + "\n")
    return table


def table_of(plan: Plan, out: Path) -> dict[str, Any]:
    """By family: each model's attribute and pairwise scores, what the guards change, what each modality is worth, and whether each stage
    is better than the one before; ``gains``: by how much, with paired intervals."""
    families = {}
    for family in plan.families:
        attributes = json.loads((out / family / "judged" / "attributes.json").read_text())["models"]
        verdicts = json.loads((out / family / "judged" / "pairwise.json").read_text())["models"]
        ablation = json.loads((out / family / "ablation" / "ablation.json").read_text())
        rows = {
            name: {
                **{part: attributes[name]["all"][part] for part in ("total", "truth", "coverage", "importance")},
                "pairwise": verdicts[name]["all"]["ps"],
                "categories": {category: of["ps"] for category, of in verdicts[name]["categories"].items()},
            }
            for name in (*STAGES, UNGUARDED)
        }
        rises = {figure: all(rows[one][figure] < rows[two][figure] for one, two in pairwise(STAGES)) for figure in ("total", "pairwise")}
        steps_up = (*pairwise(STAGES), (UNGUARDED, STAGES[-1]))
        found = {f"{after} over {before}": msgspec.to_builtins(gains(out / family / "judged", before, after)) for before, after in steps_up}
        families[family] = {"models": rows, "rises": rises, "gains": found, "ablation": ablation}
    return {"plan": msgspec.to_builtins(plan), "families": families}


def _family(plan: Plan, family: Family, data: Path, out: Path) -> Iterator[Step]:
    held_out, pool = data / "eval" / "samples.jsonl", data / "pool" / "samples.jsonl"
    models = {"base": BASES[family], "sft": out / "sft" / "model", "dpo": out / "dpo" / "model"}
    oracle = ["--judge", "oracle", "--truth", data / "eval" / "truth.jsonl"]
    train = ["--tuning", "full", "--batch", 8, "--accumulate", 1, "--device", plan.device, "--save-steps", 100]
    words: list[Any] = ["sft", "--model", models["base"], "--data", data / "sft" / "samples.jsonl", "--out", out / "sft"]
    yield _step([*words, "--epochs", plan.epochs, "--learning-rate", plan.sft_rate, *train], models["sft"] / "tagger.json")
    words = ["dpo-pairs", "--model", models["sft"], "--pool", pool, "--judge", "oracle", "--truth", data / "pool" / "truth.jsonl"]
    yield _step(
        [*words, "--batch", 50, "--new-tokens", 256, "--device", plan.device, "--out", out / "pairs"], out / "pairs" / "manifest.json"
    )
    words = ["dpo", "--model", models["sft"], "--pairs", out / "pairs", "--out", out / "dpo", "--beta", plan.beta]
    words += ["--learning-rate", plan.dpo_rate, "--sft-weight", plan.sft_weight]
    yield _step([*words, *train], models["dpo"] / "tagger.json")
    answers = {name: out / "answers" / f"{name}.jsonl" for name in (*STAGES, UNGUARDED)}
    for name, path in answers.items():
        words = ["infer", models["dpo"] if name == UNGUARDED else models[name], held_out, "--out", path, "--batch", 50]
        guards = ["--no-guards"] if name == UNGUARDED else []
        yield _step([*words, "--device", plan.device, *guards], path)
    given = [f"{name}={path}" for name, path in answers.items()]
    for command in ("attributes", "pairwise"):
        yield _step(["judge", command, held_out, *given, *oracle, "--out", out / "judged"], out / "judged" / f"{command}.json")
    words = ["ablate", models["dpo"], held_out, *oracle, "--batch", 50, "--device", plan.device]
    yield _step([*words, "--out", out / "ablation"], out / "ablation" / "ablation.json")


def _step(words: list[Any], made: Path) -> Step:
    return Step([str(word) for word in words], made)
