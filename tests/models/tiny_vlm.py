"""Models of both families with random weights, a few hundred thousand parameters, built here: the code runs, the answers mean nothing."""

from functools import cache
from typing import Any

import torch
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
)

from models.handbook import load_handbook
from models.vlm_model import VlmModel
from offline.demo_models.vlm_build import SPECIALS, Size, make_model, make_processor, train_tokenizer

SIZE = Size(vocabulary=1024, width=64, layers=2, inner=96, heads=2, key_heads=1, sight=32, sight_layers=1, sight_heads=2)
PIXELS = 64 * 64
INTERN = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
INTERN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def handbook_texts() -> list[str]:
    return [text for pair in load_handbook().glossary().items() for text in pair]


@cache
def tiny_qwen() -> VlmModel:
    torch.set_num_threads(1)  # for matrices this small threads wait longer than they work
    torch.manual_seed(6)  # one that writes tags
    tokenizer = train_tokenizer(handbook_texts(), [], SIZE.vocabulary)
    processor = make_processor(tokenizer, PIXELS)
    return VlmModel(make_model(tokenizer, SIZE, PIXELS).eval(), processor, name="tiny qwen")


@cache
def tiny_intern() -> VlmModel:
    """InternVL3.5: its text part is a Qwen3."""
    return _intern("tiny intern", {"model_type": "qwen3", "head_dim": 32})


@cache
def tiny_intern3() -> VlmModel:
    """InternVL3: its text part is a Qwen2."""
    return _intern("tiny intern3", {"model_type": "qwen2"})


def _intern(name: str, of_text: dict[str, Any]) -> VlmModel:
    torch.set_num_threads(1)
    torch.manual_seed(8)
    tokenizer = train_tokenizer(handbook_texts(), [], SIZE.vocabulary - len(INTERN))
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        padding_side="left",
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        additional_special_tokens=list(SPECIALS[1:]),
        extra_special_tokens=INTERN,
    )
    images = GotOcr2ImageProcessor(size={"height": 56, "width": 56}, min_patches=1, max_patches=2, crop_to_patches=True)
    processor = InternVLProcessor(images, made, InternVLVideoProcessor(), image_seq_length=4, chat_template=INTERN_TEMPLATE)
    vision: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 56,
    }
    text: dict[str, Any] = {
        "vocab_size": SIZE.vocabulary + 8, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 2048, "tie_word_embeddings": True, **of_text,
    }  # fmt: skip
    config = InternVLConfig(
        vision_config=vision, text_config=text, image_token_id=made.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=4
    )
    model = InternVLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = made.eos_token_id
    return VlmModel(model, processor, name=name)
