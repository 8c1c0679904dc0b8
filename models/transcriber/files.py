"""The files of a SenseVoice model, as funasr lays them out, and as our export writes them beside its ONNX file.

``config.yaml`` settings of network and front end; ``am.mvn`` mean and scale of features; ``*bpe.model`` sentencepiece pieces; the weights
``model.pt`` (torch) or ``model.onnx``, ``model_quant.onnx`` (funasr's names of exported and quantised networks).
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from msgspec import Struct

from schemas.errors import BadSetting

CONFIG, CMVN, TORCH, ONNX, QUANTISED = "config.yaml", "am.mvn", "model.pt", "model.onnx", "model_quant.onnx"
FORMAT = "1"
Precision = Literal["both", "int8", "float32"]
"""Of an exported network: float32; int8; both, where float32 hears again what int8 doubts."""


class FrontEndSpec(Struct, frozen=True, kw_only=True):
    """What of ``frontend_conf`` a front end takes: lengths in ms, ``lfr_m`` frames put together every ``lfr_n``."""

    fs: int = 16_000
    window: str = "hamming"
    n_mels: int = 80
    frame_length: int = 25
    frame_shift: int = 10
    lfr_m: int = 7
    lfr_n: int = 6


class SpeechFiles(NamedTuple):
    """``weights``: the file that is run; ``exact``: the network in float32 beside a quantised one, which hears again what that doubts."""

    directory: Path
    config: dict[str, Any]
    front_end: FrontEndSpec
    cmvn: Path
    pieces: Path
    weights: Path
    exact: Path | None = None

    @property
    def onnx(self) -> bool:
        """Whether onnxruntime runs it."""
        return self.weights.suffix == ".onnx"

    @property
    def parts(self) -> list[Path]:
        """All files that the texts depend on."""
        return [self.directory / CONFIG, self.cmvn, self.pieces, self.weights, *([self.exact] if self.exact else [])]

    def version(self) -> str:
        """Changes with any of the files, whatever their directory."""
        digest = hashlib.blake2b(FORMAT.encode(), digest_size=6)
        for path in self.parts:
            with path.open("rb") as file:
                digest.update(f"\x00{path.name}\x00".encode() + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def speech_files(directory: Path, weights: str | None = None) -> SpeechFiles:
    """Looks at a model directory.

    Args:
        directory: of the model.
        weights: name of the weights to take, alone; by default ONNX before torch, quantised first, with float32 beside it if it is there.

    Raises:
        BadSetting: naming the file that is missing or no SenseVoice's.
    """
    config = _config(directory / CONFIG)
    pieces = sorted(directory.glob("*bpe.model"))
    if not pieces:
        raise BadSetting(f"transcriber_model: {directory} has no bpe.model; give a directory with SenseVoice's files")
    if not (directory / CMVN).is_file():
        raise BadSetting(f"transcriber_model: {directory} has no {CMVN}; give a directory with SenseVoice's files")
    names = [weights] if weights else [QUANTISED, ONNX, TORCH]
    found = next((directory / name for name in names if (directory / name).is_file()), None)
    if found is None:
        raise BadSetting(f"transcriber_model: {directory} has none of {', '.join(names)}; give a directory with SenseVoice's files")
    exact = directory / ONNX if weights is None and found.name == QUANTISED and (directory / ONNX).is_file() else None
    return SpeechFiles(directory, config, front_end_of(config), directory / CMVN, pieces[0], found, exact)


def front_end_of(config: dict[str, Any]) -> FrontEndSpec:
    """The front end that a ``config.yaml`` asks for.

    Raises:
        BadSetting: when it is none that is known here.
    """
    import msgspec

    try:
        return msgspec.convert(config.get("frontend_conf") or {}, FrontEndSpec)
    except msgspec.ValidationError as error:
        raise BadSetting(f"transcriber_model: {CONFIG}: frontend_conf: {error}") from None


def _config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadSetting(f"transcriber_model: {path} cannot be read ({type(error).__name__}); it comes with SenseVoice models") from None
    if not isinstance(config, dict) or config.get("model") != "SenseVoiceSmall":
        raise BadSetting(f"transcriber_model: {path}: model: {_model(config)}, only SenseVoiceSmall can be used")
    return config


def _model(config: object) -> str:
    return str(config.get("model", "is missing"))[:60] if isinstance(config, dict) else "is missing"
