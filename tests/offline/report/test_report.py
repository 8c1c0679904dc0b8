"""`tagstream offline report`: one page that holds everything and lets nothing through as markup."""

import html.parser
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from models.roles import SeenImage
from offline.judge.cli import judge
from offline.report.command import report
from offline.report.curves import curves, curves_section
from offline.report.examples import chosen
from offline.tag_data.samples import Told, keep_picture, write_samples
from schemas.errors import BadSetting, MissingPrerequisite
from tests.offline.judge.oracle_world import NOTES, SAMPLES, best
from tests.offline.judge.test_judge_models import prediction

COUNT = 12
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A directory with both reports on two models; titles, tags and model names try to be markup."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 400, 3), np.uint8)
    picture = keep_picture(tmp_path, SeenImage(pixels, "image", 0))
    samples = [
        msgspec.structs.replace(
            sample, tags=best(sample), note=msgspec.structs.replace(sample.note, title=EVIL), pictures=[picture] if sample.pictures else []
        )
        for sample in SAMPLES[:COUNT]
    ]
    write_samples(tmp_path / "samples.jsonl", samples)
    (tmp_path / "truth.jsonl").write_bytes(b"".join(msgspec.json.encode(made.truth) + b"\n" for made in NOTES[:COUNT]))
    for name, more in {"a": [Told(EVIL[:50], EVIL, "body")], "b": []}.items():
        lines = [prediction(sample.note.note_id, [*sample.tags[at % 3 :], *more]) for at, sample in enumerate(samples)]
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    for command in ("attributes", "pairwise"):
        given = [str(tmp_path / "samples.jsonl"), f"{EVIL[:30]}={tmp_path / 'a.jsonl'}", str(tmp_path / "b.jsonl")]
        rest = ["--judge", "oracle", "--truth", str(tmp_path / "truth.jsonl"), "--out", str(tmp_path / "judged")]
        done = CliRunner().invoke(judge, [command, *given, *rest], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return tmp_path


class Reader(html.parser.HTMLParser):
    """Every element with its attributes; void ones and open ones checked for balance."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_that_needs_nothing_else(judged: Path) -> None:
    out = judged / "report.html"
    done = CliRunner().invoke(report, [str(judged / "judged"), "--out", str(out), "--examples", "6", "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    page = out.read_text()
    assert (told["reports"], told["bytes"]) == (2, out.stat().st_size)
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    names = {tag for tag, _ in reader.seen}
    assert not names & {"script", "link", "iframe", "object", "a"}
    for tag, attributes in reader.seen:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
    assert "http://" not in page
    assert "https://" not in page
    pictures = [attributes["src"] or "" for tag, attributes in reader.seen if tag == "img"]
    assert pictures
    assert all(url.startswith("data:image/webp;base64,") for url in pictures)
    articles = [attributes for tag, attributes in reader.seen if tag == "article"]
    assert len(articles) == told["examples"] == 6
    kinds = [attributes.get("class") for tag, attributes in reader.seen if tag == "li"]
    assert {"true shared", "false", "missing", "true"} <= set(kinds)
    assert "&lt;script&gt;" in page
    assert page.count("paper: Qwen3-VL-4B dpo") == 3


def test_without_paper_and_examples(judged: Path) -> None:
    out = judged / "bare.html"
    done = CliRunner().invoke(report, [str(judged), "--out", str(out), "--examples", "0", "--ours-alone"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "paper:" not in out.read_text()
    assert "<article" not in out.read_text()


def test_curves_of_the_last_checkpoint_of_each_run(tmp_path: Path) -> None:
    for step in (9, 10):
        history = [{"step": at, "loss": 3.0 - at / 10, "epoch": 1.0} for at in range(1, step + 1)] + [{"step": step, "eval_loss": 2.5}]
        path = tmp_path / "sft" / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"log_history": history}))
    (tmp_path / "other" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "other" / "checkpoint-1" / "trainer_state.json").write_text("{}")
    [(run, found)] = curves([tmp_path, tmp_path / "sft"]).items()
    assert run == (tmp_path / "sft" / "checkpoints").resolve()
    assert list(found) == ["loss"], "one point makes no curve"
    assert found["loss"] == [(float(at), 3.0 - at / 10) for at in range(1, 11)]
    drawn = curves_section({run: found})
    assert f"<h3>{tmp_path.name} / sft</h3>" in drawn
    [line] = re.findall(r'points="([^"]*)"', drawn)
    places = [tuple(map(float, one.split(","))) for one in line.split()]
    assert len(places) == 10
    assert places == sorted(places), "to the right, and down as the loss falls"


def test_worst_best_and_furthest_apart() -> None:
    samples = {sample.note.note_id: sample for sample in SAMPLES[:6]}
    ids = list(samples)
    points = {"first": dict.fromkeys(ids, 0.0) | {ids[4]: -2.0}, "last": dict(zip(ids, (-2.0, -1.0, 2.0, 1.0, 0.5, 0.0), strict=True))}
    assert chosen(points, ["first", "last"], samples, 3) == [
        (ids[0], "worst of last"), (ids[2], "best of last"), (ids[4], "models furthest apart"),
    ]  # fmt: skip
    assert [note for note, _ in chosen({"last": points["last"]}, ["last"], samples, 2)] == [ids[0], ids[2]]
    assert chosen({}, ["last"], samples, 2) == [(ids[0], "not judged"), (ids[1], "not judged")]


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite, match=re.escape("attributes.json, pairwise.json or ablation.json")):
        CliRunner().invoke(report, [str(tmp_path), "--out", str(tmp_path / "r.html")], catch_exceptions=False)
    (tmp_path / "pairwise.json").write_text("{}")
    with pytest.raises(BadSetting, match=r"pairwise.json: .*write it anew"):
        CliRunner().invoke(report, [str(tmp_path), "--out", str(tmp_path / "r.html")], catch_exceptions=False)
