"""What a GPU is asked, at tiny size on a CPU."""

import json

from click.testing import CliRunner

from benchmarks.vlm_rate import main

NEW_TOKENS = 4


def test_the_rates_of_the_batch_sizes_that_time_is_left_for(tmp_path):
    out = tmp_path / "rate.json"
    options = ["--device", "cpu", "--tiny", "--batches", "2,4", "--seconds", "0", "--new-tokens", str(NEW_TOKENS), "--compiled"]
    CliRunner().invoke(main, [*options, "--out", str(out)], catch_exceptions=False)
    figures = json.loads(out.read_bytes())
    assert list(figures["batches"]) == ["2"] and figures["left_out"].startswith("batches of 4")
    rate = figures["batches"]["2"]
    assert round(rate["tokens_per_s"] / rate["notes_per_s"]) == NEW_TOKENS
    assert rate["share_of_plain"] == round(rate["notes_per_s"] / rate["plain_notes_per_s"], 3)
    assert figures["compiled"]["batch"] == 2 and figures["compiled"]["notes_per_s"] > 0
    assert figures["prompt_tokens"] > 196, "a picture of 448 x 448 alone is 14 x 14 tokens"
