"""The rare way to export an encoder: torch and transformers load it and trace the graph. The only module here that imports them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def trace_encoder(source: Path, path: Path, projection: NDArray[np.float32] | None = None) -> None:
    """Writes the graph ``ids (texts, tokens) int64 -> hidden (texts, tokens, dimension)`` of any encoder transformers loads; hidden states
    are multiplied by ``projection``, (out, in), at last."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(str(source), attn_implementation="eager", dtype=torch.float32).eval()

    class HiddenStates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.projection = None if projection is None else torch.from_numpy(projection.T.copy())

        def forward(self, ids: torch.Tensor) -> Any:
            hidden = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            return hidden if self.projection is None else hidden @ self.projection

    axes = {0: "texts", 1: "tokens"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            HiddenStates(),
            (torch.randint(10, 100, (2, 7)),),
            str(path),
            input_names=["ids"],
            output_names=["hidden"],
            dynamic_axes={"ids": axes, "hidden": axes},
            opset_version=17,
            dynamo=False,
        )


def fast_tokenizer(source: Path) -> Any:
    """The ``tokenizers.Tokenizer`` behind an encoder that has no ``tokenizer.json``."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(source), use_fast=True).backend_tokenizer
