"""A small OpenAI-compatible server that runs a vision-language model of ours: ``python -m tests.models.model_server PORT MODEL``."""

import base64
import io
import sys
import threading
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.vlm_decoding import Grammars, Watch
from models.vlm_model import VlmModel, open_vlm
from tests.models.chat_server import ChatServer


class ServedModel:
    """Answers chat requests with a model, one at a time, greedily and held to the request's schema.

    Args:
        model: the loaded model.
        pixels: area of a picture at most.
    """

    def __init__(self, model: VlmModel, pixels: int = 448 * 448) -> None:
        self._model = model
        self._pixels = model.card.image_pixels if model.card else pixels
        self._grammars = Grammars(model.tokenizer, model.vocabulary, model.stops)
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion with the tokens' probabilities."""
        chat, pictures = _chat(body["messages"])
        text = self._model.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        schema = body.get("structured_outputs", {}).get("json") or body.get("response_format", {}).get("json_schema", {}).get("schema")
        with self._lock, torch.inference_mode():
            inputs = self._model.inputs([text], [pictures], self._pixels)
            watch = Watch([self._grammars.of(schema) if schema else None], self._model.vocabulary)
            made: Any = self._model.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=body["max_tokens"],
                eos_token_id=self._model.stops,
                pad_token_id=self._model.pad,
                **watch.arguments(),
            )
            ids = made[0, inputs["input_ids"].shape[1] :]
            written = self._grammars.written(ids.tolist(), watch.log_probabilities()[0].tolist())
        return _completion(written.text, written.ends, written.log_probabilities.tolist(), complete=written.complete)


def _chat(messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[np.ndarray[Any, Any]]]:
    """Messages as a chat template takes them, and their pictures."""
    pictures = []
    chat = []
    for message in messages:
        content = message["content"]
        parts = []
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "image_url":
                data = base64.b64decode(part["image_url"]["url"].partition("base64,")[2])
                pictures.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
                parts.append({"type": "image"})
            else:
                parts.append(part)
        chat.append({"role": message["role"], "content": parts})
    return chat, pictures


def _completion(text: str, ends: list[int], chances: list[float], *, complete: bool) -> dict[str, Any]:
    raw = text.encode()
    pieces = [raw[before:after] for before, after in zip([0, *ends], ends, strict=False)]
    tokens = [
        {"token": piece.decode(errors="replace"), "bytes": list(piece), "logprob": chance, "top_logprobs": []}
        for piece, chance in zip(pieces, chances, strict=True)
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop" if complete else "length",
        "logprobs": {"content": tokens},
    }
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "served", "choices": [choice]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    ChatServer(ServedModel(open_vlm(sys.argv[2], "cpu")), int(sys.argv[1])).serve_forever()
