"""The demo speech model in torch again: its committed file is quantised ONNX, whose nodes are named after torch's modules."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from models.transcriber.files import CMVN, CONFIG, TORCH, speech_files
from models.transcriber.load import DEMO_DIR


def write_demo(directory: Path) -> Path:
    """A directory with the demo's trained weights as ``model.pt``, as exact as eight bits hold them.

    Raises:
        ValueError: when the file lacks a weight of the network.
    """
    import torch

    from offline.speech.network import PIECES, build, open_pieces

    directory.mkdir()
    files = speech_files(DEMO_DIR)
    for source, name in ((DEMO_DIR / CONFIG, CONFIG), (files.cmvn, CMVN), (files.pieces, PIECES)):
        shutil.copyfile(source, directory / name)
    found = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in _weights(files.weights).items()}
    wanted = build(files.config, open_pieces(files.pieces)).state_dict()
    lacking = [name for name, value in wanted.items() if name not in found or found[name].shape != value.shape]
    if lacking:
        raise ValueError(f"{files.weights} has no {', '.join(lacking[:3])}")
    torch.save({name: found[name] for name in wanted}, directory / TORCH)
    return directory


def _weights(path: Path) -> dict[str, Any]:
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(str(path)).graph
    held = {item.name: to_array(item) for item in graph.initializer}
    found = dict(held)
    for node in graph.node:
        module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        if node.op_type == "MatMulInteger":
            base = node.input[1].removesuffix("_quantized")
            shifted = held[node.input[1]].astype(np.float32) - held[f"{base}_zero_point"]
            bias = next(name for name in held if f".{name}".endswith(f".{module}.bias"))
            found[f"{bias.removesuffix('bias')}weight"] = (shifted * held[f"{base}_scale"]).T
        elif node.op_type in {"Mul", "Add"}:
            for name in set(node.input) & held.keys():
                if name.startswith("onnx::"):
                    found[f"{module}.{'weight' if node.op_type == 'Mul' else 'bias'}"] = held[name]
    return found
