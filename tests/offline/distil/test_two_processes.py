"""One training by two processes on a CPU, as several GPUs share one."""

import json
import os
import subprocess
import sys
from pathlib import Path

from models.vlm_model import open_vlm
from tests.models.tiny_vlm import tiny_qwen
from tests.offline.distil.tiny_samples import IMAGE_PIXELS, samples_in, saved


def test_two_processes_share_the_updates_and_one_of_them_speaks(tmp_path: Path) -> None:
    base, data = saved(tiny_qwen(), tmp_path / "base"), samples_in(tmp_path / "data")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tagstream"]
    words = ["offline", "sft", "--model", base, "--data", str(data), "--out", str(tmp_path / "run"), "--tuning", "full", "--device", "cpu"]
    words += [
        "--epochs",
        "2",
        "--batch",
        "2",
        "--accumulate",
        "1",
        "--learning-rate",
        "0.01",
        "--image-pixels",
        str(IMAGE_PIXELS),
        "--json",
    ]
    done = subprocess.run([*torchrun, *words], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    held = json.loads(done.stdout)
    assert held["figures"]["updates"] == 4, "eight samples, two epochs, two processes of two each"
    learned, before = (open_vlm(place, "cpu").model.state_dict() for place in (str(tmp_path / "run" / "model"), base))
    assert learned.keys() == before.keys() and any(not learned[name].equal(before[name]) for name in learned)
