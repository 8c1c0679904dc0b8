"""The transcriber that the settings name."""

from pathlib import Path

from models.roles import Transcriber
from models.transcriber.files import speech_files
from models.transcriber.pipeline import Recogniser, SenseVoiceTranscriber
from schemas.errors import BadSetting
from schemas.settings import Settings

MODELSCOPE = ("iic/", "damo/")
DEMO = "demo"
DEMO_DIR = Path(__file__).parents[1] / "demo" / "sensevoice"


def load_transcriber(settings: Settings) -> Transcriber | None:
    """The transcriber of the setting ``transcriber_model``; None where it is empty.

    Raises:
        BadSetting: when there is no such model, or it is no SenseVoice.
    """
    return open_transcriber(transcriber_directory(settings.transcriber_model), settings) if settings.transcriber_model else None


def transcriber_directory(name: str) -> Path:
    """The directory of a model: ``demo``, a local one, or the snapshot of a hub id; ``iic/...`` comes from ModelScope, others from
    Hugging Face.

    Raises:
        BadSetting: when neither is there.
    """
    if name == DEMO:
        return DEMO_DIR
    path = Path(name)
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise BadSetting(f"transcriber_model: {name} is neither a directory nor a hub id")
    try:
        if name.startswith(MODELSCOPE):
            from modelscope import snapshot_download as from_modelscope

            return Path(from_modelscope(name))
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name))
    except Exception as error:  # whatever a hub's client raises
        raise BadSetting(f"transcriber_model: {name} is no directory and the hub gave no model ({type(error).__name__})") from error


def open_transcriber(directory: Path, settings: Settings) -> Transcriber:
    """A model directory's transcriber: through onnxruntime where it holds an exported network, else in torch.

    Raises:
        BadSetting: when the directory is no SenseVoice's.
    """
    from models.transcriber.voices import SileroVoices

    files = speech_files(directory)
    recogniser: Recogniser
    if files.onnx:
        from models.transcriber.onnx_engine import OnnxRecogniser

        recogniser = OnnxRecogniser(files, settings.transcriber_threads)
    else:
        from models.transcriber.torch_engine import FunasrRecogniser

        recogniser = FunasrRecogniser(files, settings.transcriber_device, settings.transcriber_threads or 1)
    return SenseVoiceTranscriber(recogniser, SileroVoices())
