"""The model's pieces, shape and files: SenseVoice's own format, small."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import yaml

from models.transcriber.files import CONFIG, FrontEndSpec
from models.transcriber.torch_engine import import_funasr
from offline.simulate.catalogue import Language
from offline.speech.said import frames, values, written

if TYPE_CHECKING:
    from torch import Tensor

PIECES = "bpe.model"
TAGS = ("<|zh|>", "<|en|>", "<|nospeech|>", "<|NEUTRAL|>", "<|EMO_UNKNOWN|>", "<|Speech|>", "<|Event_UNK|>", "<|withitn|>", "<|woitn|>")
ENGLISH_PIECES = 1000
COMMON = 300
QUERIES = {"withitn": 14, "woitn": 15}
SIZES: dict[str, Any] = {"output_size": 192, "attention_heads": 4, "linear_units": 512, "num_blocks": 5, "tp_blocks": 1, "kernel_size": 11}


def config(sizes: dict[str, Any] | None = None) -> dict[str, Any]:
    """``config.yaml`` as funasr reads it."""
    encoder = {
        "dropout_rate": 0.1, "positional_dropout_rate": 0.1, "attention_dropout_rate": 0.1, "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder", "normalize_before": True, "sanm_shfit": 0, "selfattention_layer_type": "sanm",
    }  # fmt: skip
    front_end = msgspec.structs.asdict(FrontEndSpec()) | {"dither": 0.0}
    return {
        "encoder": "SenseVoiceEncoderSmall",
        "encoder_conf": encoder | (sizes or SIZES),
        "model": "SenseVoiceSmall",
        "model_conf": {"length_normalized_loss": True, "sos": 1, "eos": 2, "ignore_id": -1},
        "tokenizer": "SentencepiecesTokenizer",
        "tokenizer_conf": {"bpemodel": None, "unk_symbol": "<unk>", "split_with_space": True},
        "frontend": "WavFrontend",
        "frontend_conf": front_end,
    }


def train_pieces(path: Path, english: int = ENGLISH_PIECES) -> None:
    """Pieces for what the community says: each Chinese character is one, tags are one each, English falls into ``english`` ones."""
    import sentencepiece

    lines: dict[Language, list[str]] = {language: corpus(language) for language in ("zh", "en")}
    characters = sorted({sign for line in lines["zh"] for sign in line})
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines["en"]), model_writer=made, model_type="bpe", vocab_size=3 + len(TAGS) + len(characters) + english,
        user_defined_symbols=[*TAGS, *characters], add_dummy_prefix=False, character_coverage=1.0, hard_vocab_limit=False,
        minloglevel=2, num_threads=1,
    )  # fmt: skip
    path.write_bytes(made.getvalue())


def corpus(language: Language) -> list[str]:
    """Every clause that can be said, as it is written; what everybody says comes ``COMMON`` times."""
    around = frames(language)
    told = [text.format(v=value) for value in values(language) for text in around["say"]]
    return [written(text, language) for text in [*(around["open"] + around["close"]) * COMMON, *told]]


def open_pieces(path: Path) -> Any:
    """The sentencepiece processor."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(path))


def build(shape: dict[str, Any], pieces: Any) -> Any:
    """funasr's network of that shape, untrained. The language is never told, so that the model learns to find it out."""
    import_funasr()
    from funasr.models.sense_voice.model import SenseVoiceSmall

    model = SenseVoiceSmall(
        encoder=shape["encoder"],
        encoder_conf=dict(shape["encoder_conf"]),
        input_size=shape["frontend_conf"]["n_mels"] * shape["frontend_conf"]["lfr_m"],
        vocab_size=pieces.get_piece_size(),
        **shape["model_conf"],
    )
    model.lid_int_dict = {}
    model.textnorm_int_dict = {pieces.piece_to_id(f"<|{name}|>"): row for name, row in QUERIES.items()}
    return model


def encode(model: Any, features: "Tensor", frames: "Tensor", styles: "Tensor") -> "Tensor":
    """The network's output, the four tags first. As funasr's ``encode``, which looks the queries up sentence by sentence.

    Args:
        model: from ``build``.
        features: (sentences, frames, 560).
        frames: lengths, on the same device.
        styles: of ``QUERIES``, on the same device.
    """
    import torch

    language, emotion, event = (torch.full_like(styles, row) for row in (0, 1, 2))
    queries = model.embed(torch.stack([language, emotion, event, styles], dim=1))
    return cast("Tensor", model.encoder(torch.cat([queries, features], dim=1), frames + 4)[0])


def tags(pieces: Any, language: Language | None, style: str) -> list[int]:
    """The four tags before a text: language, emotion, event, style. None: nobody speaks."""
    told = (f"<|{language}|>", "<|NEUTRAL|>", "<|Speech|>") if language else ("<|nospeech|>", "<|EMO_UNKNOWN|>", "<|Event_UNK|>")
    return [pieces.piece_to_id(tag) for tag in (*told, f"<|{style}|>")]


def write_config(out: Path, shape: dict[str, Any]) -> None:
    """Writes ``config.yaml``."""
    (out / CONFIG).write_text(yaml.safe_dump(shape, sort_keys=False), encoding="utf-8")
