"""One training by two processes on a CPU, as several GPUs share one: each with the whole model, and with its weights split between them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from offline.distil import training
from tests.models.tiny_vlm import tiny_intern, tiny_qwen
from tests.offline.distil.test_dpo import pairs_in
from tests.offline.distil.tiny_samples import IMAGE_PIXELS, samples_in, saved

WHOLE, SPLIT = "tagstream", "tests.offline.distil.fsdp_on_cpu"
LAUNCH = Path(training.__file__).parent / "launch" / "fsdp.yaml"
Weights = dict[str, torch.Tensor]


def trained(module: str, command: str, out: Path, *words: str) -> dict[str, Any]:
    """The run's manifest, from the one process that speaks. The samples are such that one process has pictures where the other has none."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", module, "offline", command]
    given = ["--tuning", "full", "--device", "cpu", "--epochs", "2", "--batch", "2", "--accumulate", "1", "--learning-rate", "0.01"]
    given += ["--image-pixels", str(IMAGE_PIXELS), *words, "--out", str(out), "--json"]
    options = yaml.safe_load(LAUNCH.read_text())["fsdp_config"]
    split = {"ACCELERATE_USE_FSDP": "true"} | {name.upper(): str(value) for name, value in options.items()} if module == SPLIT else {}
    environment = os.environ | split | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *given], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    held: dict[str, Any] = json.loads(done.stdout)
    return held


def weights_of(directory: Path) -> Weights:
    found: Weights = load_file(directory / "model.safetensors")
    return found


def test_two_processes_share_the_updates_and_one_of_them_speaks(tmp_path: Path) -> None:
    base, data = saved(tiny_qwen(), tmp_path / "base"), samples_in(tmp_path / "data")
    words = ["--model", base, "--data", str(data)]
    held = trained(WHOLE, "sft", tmp_path / "whole", *words)
    assert held["figures"]["updates"] == 4, "eight samples, two epochs, two processes of two each"
    learned, before = weights_of(tmp_path / "whole" / "model"), weights_of(Path(base))
    assert learned.keys() == before.keys() and any(not learned[name].equal(before[name]) for name in learned)
    assert trained(SPLIT, "sft", tmp_path / "split", *words)["figures"]["updates"] == 4
    split = weights_of(tmp_path / "split" / "model")
    assert split.keys() == learned.keys()
    for name, value in learned.items():
        torch.testing.assert_close(split[name], value, rtol=0, atol=1e-5)


def test_dpo_learns_with_its_weights_and_the_reference_model_s_split(tmp_path: Path) -> None:
    base = saved(tiny_intern(), tmp_path / "base")
    held = trained(SPLIT, "dpo", tmp_path / "run", "--model", base, "--pairs", str(pairs_in(tmp_path)))
    assert held["figures"]["updates"] == 4 and held["figures"]["reference"] == "a frozen copy of the SFT model"
    learned, before = weights_of(tmp_path / "run" / "model"), weights_of(Path(base))
    assert learned.keys() == before.keys() and any(not learned[name].equal(before[name]) for name in learned)
