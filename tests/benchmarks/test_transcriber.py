"""The demo speech model in torch again, as the transcriber's benchmark hears it."""

from benchmarks.demo_weights import write_demo
from models.sound import open_sound
from models.transcriber.files import TORCH, speech_files
from models.transcriber.load import DEMO_DIR
from models.transcriber.onnx_engine import OnnxRecogniser
from models.transcriber.torch_engine import FunasrRecogniser
from tests.models.transcriber.voice import VOICE


def test_the_demo_in_torch_says_what_the_committed_file_says(tmp_path):
    sound = open_sound(VOICE).samples
    ours = FunasrRecogniser(speech_files(write_demo(tmp_path / "demo"), TORCH)).recognise([sound])
    theirs = OnnxRecogniser(speech_files(DEMO_DIR)).recognise([sound])
    assert ours == theirs and len(str(ours[0])) > 20
