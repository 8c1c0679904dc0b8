"""Transcribers: the same promises from torch, onnxruntime and a scripted recogniser; and export, with the same texts."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from models.roles import Utterance
from models.sound import SAMPLE_RATE, open_sound
from models.transcriber import load_transcriber, open_transcriber
from models.transcriber.export import export, parity
from models.transcriber.files import ONNX, QUANTISED, TORCH, speech_files
from models.transcriber.load import transcriber_directory
from models.transcriber.onnx_engine import OnnxRecogniser, doubtful
from models.transcriber.pipeline import BatchSpec, SenseVoiceTranscriber, batches
from models.transcriber.voices import SileroVoices
from schemas.errors import BadSetting
from schemas.settings import Settings
from tests.models.transcriber.voice import VOICE, write_untrained


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An untrained model in torch, exported, quantised, and both."""
    root = tmp_path_factory.mktemp("speech")
    write_untrained(root / "torch")
    for name, precision in (("onnx", "float32"), ("int8", "int8"), ("both", "both")):
        export(root / "torch", root / name, precision=precision)
    return root


@pytest.fixture(scope="module", params=["torch", "onnx", "int8", "both"])
def hearing(root, request):
    return open_transcriber(root / request.param, Settings())


@pytest.fixture(scope="module")
def sounds():
    """A voice twice at different lengths with silence between, silence, nothing, a piece of it."""
    voice = open_sound(VOICE).samples
    twice = np.concatenate([voice, np.zeros(2 * SAMPLE_RATE, np.float32), voice[:40_000]])
    return [twice, np.zeros(SAMPLE_RATE, np.float32), np.zeros(0, np.float32), voice[20_000:60_000]]


def test_utterances_are_in_order_and_within_the_sound(hearing, sounds):
    found = hearing.transcribe(sounds)
    assert [len(item) for item in found] == [len(found[0]), 0, 0, len(found[3])] and len(found[0]) >= 2 and found[3]
    for sound, utterances in zip(sounds, found, strict=True):
        before = 0
        for one in utterances:
            assert before <= one.start_ms < one.end_ms <= len(sound) / 16 and one.text
            before = one.end_ms
    assert found[0][-1].start_ms > len(open_sound(VOICE).samples) / 16


def test_a_text_does_not_depend_on_what_else_is_heard(hearing, sounds):
    together = hearing.transcribe(sounds)
    assert together == [hearing.transcribe([sound])[0] for sound in sounds]
    assert together[::-1] == hearing.transcribe(sounds[::-1])


def test_no_sound_is_too_odd(hearing):
    odd = [np.full(20_000, np.nan, np.float32), np.full(9_000, 1e30, np.float32), np.zeros(1, np.float32)]
    assert len(hearing.transcribe(odd)) == 3 and hearing.transcribe([]) == []


def test_onnx_says_what_torch_says(root, sounds):
    found = parity(root / "torch", speech_files(root / "onnx"), sounds)
    assert (found.sounds, found.same, found.cer, found.differences) == (4, 4, 0.0, [])


def test_versions_follow_the_files(root, tmp_path):
    versions = {name: open_transcriber(root / name, Settings()).version for name in ("torch", "onnx", "int8", "both")}
    assert len(set(versions.values())) == 4
    shutil.copytree(root / "onnx", tmp_path / "copy")
    assert open_transcriber(tmp_path / "copy", Settings()).version == versions["onnx"]
    with (tmp_path / "copy" / "am.mvn").open("a") as file:
        file.write("\n")
    assert open_transcriber(tmp_path / "copy", Settings()).version != versions["onnx"]


def test_the_exported_network_is_taken_before_torch(root, tmp_path):
    shutil.copytree(root / "torch", tmp_path / "both")
    export(tmp_path / "both", tmp_path / "both", precision="float32")
    assert {path.name for path in (tmp_path / "both").iterdir()} >= {TORCH, ONNX}
    assert speech_files(tmp_path / "both").weights.name == ONNX
    export(tmp_path / "both", tmp_path / "both", precision="int8")
    assert {path.name for path in (tmp_path / "both").iterdir()} & {ONNX, QUANTISED} == {QUANTISED}
    made = export(tmp_path / "both", tmp_path / "both", precision="both")
    assert (made.weights.name, made.exact.name) == (QUANTISED, ONNX) and made == speech_files(tmp_path / "both")
    assert speech_files(tmp_path / "both", QUANTISED).exact is None


def test_the_settings_name_the_model(root):
    assert load_transcriber(Settings()) is None
    assert load_transcriber(Settings(transcriber_model=str(root / "onnx"))).name == "sense_voice"
    for name in ("/nowhere/at/all", "./nothing", "nothing"):
        with pytest.raises(BadSetting, match="transcriber_model"):
            transcriber_directory(name)


@pytest.mark.parametrize(
    ("missing", "said"), [("config.yaml", "config.yaml"), ("am.mvn", "am.mvn"), ("bpe.model", "bpe.model"), (ONNX, "model.pt")]
)
def test_what_is_missing_is_named(root, tmp_path, missing, said):
    shutil.copytree(root / "onnx", tmp_path / "model")
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(BadSetting, match=said):
        speech_files(tmp_path / "model")


@pytest.mark.parametrize("config", ["", "[1, 2]", "model: Paraformer", "model: SenseVoiceSmall\nfrontend_conf: {fs: much}", "a: [", "\x00"])
def test_another_model_is_refused(root, tmp_path, config):
    shutil.copytree(root / "onnx", tmp_path / "model")
    (tmp_path / "model" / "config.yaml").write_text(config)
    with pytest.raises(BadSetting, match="transcriber_model"):
        speech_files(tmp_path / "model")


def test_another_network_is_refused(root, tmp_path):
    shutil.copytree(root / "onnx", tmp_path / "model")
    (tmp_path / "model" / ONNX).write_bytes(b"no network")
    with pytest.raises(BadSetting, match="onnxruntime"):
        open_transcriber(tmp_path / "model", Settings())


class Scripted:
    """Says what it is told, whatever it is given."""

    version, batch = "1", 4

    def __init__(self, said):
        self.said = said

    def recognise(self, pieces):
        return self.said(len(pieces))


@pytest.mark.parametrize(
    "said", [lambda count: [None] * count, lambda count: [], lambda count: [3.5, b"", {}], lambda count: ["<|zh|><|Speech|>"] * count]
)
def test_garbage_from_a_model_is_nothing_said(said, sounds):
    assert SenseVoiceTranscriber(Scripted(said), SileroVoices()).transcribe(sounds) == [[], [], [], []]


def test_tags_come_with_the_utterance(sounds):
    hearing = SenseVoiceTranscriber(Scripted(lambda count: ["<|zh|><|HAPPY|><|Speech|><|BGM|><|withitn|>大家好。"] * count), SileroVoices())
    [one] = hearing.transcribe(sounds[3:])[0]
    assert one == Utterance("大家好。", one.start_ms, one.end_ms, "zh", "HAPPY", ["Speech", "BGM"])


def test_an_exported_model_needs_no_torch(root):
    code = (
        "import sys; from pathlib import Path; from models.sound import open_sound; from models.transcriber import load_transcriber\n"
        "from schemas.settings import Settings\n"
        f"hearing = load_transcriber(Settings(transcriber_model={str(root / 'onnx')!r}))\n"
        f"print(hearing.transcribe([open_sound(Path({str(VOICE)!r})).samples]))\n"
        "assert not {'torch', 'torchaudio', 'funasr', 'silero_vad'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Utterance" in done.stdout, done.stderr


def test_pieces_are_decoded_greedily(root):
    recogniser = OnnxRecogniser(speech_files(root / "onnx"))
    ids = recogniser._pieces.encode("<|zh|>大家好好")
    path = [part for one in ids for part in (one, one, 0)]
    assert recogniser.text(np.array(path)) == "<|zh|>大家好好"
    assert recogniser.text(np.array([10**6, -5])) == "" and recogniser.text(np.zeros(0, np.int64)) == ""


LOGITS = st.lists(st.lists(st.sampled_from([0.0, 0.2, 0.4, 0.9, 2.0]), min_size=4, max_size=4), min_size=1, max_size=7)


@given(LOGITS)
def test_what_is_doubtful_is_what_another_piece_nearly_as_likely_would_change(rows):
    """By hand: each frame's second piece in place of its first, the whole path read again."""
    logits = np.array(rows, np.float32)

    def read(path):
        kept = [piece for at, piece in enumerate(path) if not at or path[at - 1] != piece]
        return [piece for piece in kept if piece != 0]

    path = logits.argmax(axis=-1).tolist()
    changes = False
    for at, row in enumerate(logits):
        second = max((piece for piece in range(4) if piece != path[at]), key=lambda piece: (row[piece], -piece))
        changes |= bool(row[path[at]] - row[second] < 0.5) and read([*path[:at], second, *path[at + 1 :]]) != read(path)
    assert doubtful(logits, 0.5) == changes


def test_float32_hears_again_what_int8_doubts_and_nothing_else(root, monkeypatch):
    """An untrained network doubts everything, so it reads as float32; told that it doubts nothing, as int8."""
    sound = open_sound(VOICE).samples[:60_000]
    exact, quick, both = (OnnxRecogniser(speech_files(root / name)) for name in ("onnx", "int8", "both"))
    pieces = [sound, sound[:30_000], sound[10_000:50_000]]
    asked = []
    monkeypatch.setattr("models.transcriber.onnx_engine.doubtful", lambda logits: asked.append(len(logits)) or len(asked) == 2)
    mixed = [quick.recognise(pieces[:1])[0], exact.recognise(pieces[1:2])[0], quick.recognise(pieces[2:])[0]]
    assert both.recognise(pieces) == mixed and len(asked) == 3
    monkeypatch.setattr("models.transcriber.onnx_engine.doubtful", lambda _logits: True)
    assert both.recognise(pieces) == exact.recognise(pieces)
    assert quick.recognise(pieces[:1]) != exact.recognise(pieces[:1]), "or the test tells nothing"


@given(st.lists(st.integers(1, 300_000), max_size=60), st.integers(1, 16), st.floats(1.0, 30.0), st.floats(1.0, 3.0))
def test_batches_hold_each_stretch_once_and_like_lengths(lengths, most, seconds, stretch):
    found = list(batches(lengths, most, BatchSpec(seconds=seconds, stretch=stretch)))
    assert sorted(at for batch in found for at in batch) == list(range(len(lengths)))
    for batch in found:
        longest, shortest = max(lengths[at] for at in batch), min(lengths[at] for at in batch)
        assert len(batch) == 1 or (len(batch) <= most and longest <= stretch * shortest and longest * len(batch) <= seconds * SAMPLE_RATE)


@pytest.mark.parametrize(
    ("given", "weights"),
    [([], [QUANTISED, ONNX]), (["--precision", "float32"], [ONNX]), (["--precision", "int8", "--cer", "1"], [QUANTISED])],
)
def test_export_by_the_command_line(root, tmp_path, given, weights):
    """Random weights may read otherwise in int8 alone."""
    from offline.transcriber_cli import transcriber

    words = ["export", str(root / "torch"), str(VOICE), "--out", str(tmp_path / "out"), "--json", *given]
    done = CliRunner().invoke(transcriber, words, catch_exceptions=False)
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and document["passes"] and document["weights"] == weights
    assert document["bytes"] == sum((tmp_path / "out" / name).stat().st_size for name in weights)
    assert document["parity"]["same"] == 1 or weights == [QUANTISED]
