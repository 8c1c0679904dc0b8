"""A voice on file, for machines without espeak-ng, and a small untrained SenseVoice.

``voice-zh.ogg`` was spoken by espeak-ng 1.51 (cmn-latn-pinyin+m4, pitch 45, speed 150): SAID.
"""

from pathlib import Path

import numpy as np
import torch

from models.transcriber.files import CMVN, TORCH
from models.transcriber.front_end import write_cmvn
from offline.speech.network import PIECES, build, config, open_pieces, train_pieces, write_config

VOICE = Path(__file__).with_name("voice-zh.ogg")
SAID = "大家好我来简单说两句请记住夏日凉鞋下次再见"
SIZES = {"output_size": 32, "attention_heads": 2, "linear_units": 32, "num_blocks": 2, "tp_blocks": 1, "kernel_size": 11}


def write_untrained(directory: Path) -> Path:
    """Files of a SenseVoice with random weights: it says something, always the same, and nothing sensible."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(4)
    shape = config(SIZES)
    write_config(directory, shape)
    train_pieces(directory / PIECES, english=60)
    write_cmvn(directory / CMVN, np.stack([np.full(560, -12.0), np.full(560, 0.25)]).astype(np.float32))
    model = build(shape, open_pieces(directory / PIECES))
    torch.save(model.state_dict(), directory / TORCH)
    return directory
