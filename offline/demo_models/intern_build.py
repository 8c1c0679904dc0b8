"""The InternVL twin of ``vlm_build``: the same tokenizer and sizes, InternVL3.5's processor and shape (a qwen3 text part)."""

from typing import Any

from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
)

from offline.demo_models.vlm_build import MERGE, PATCH, SPECIALS, Size

CONTEXT = "<IMG_CONTEXT>"
NAMED = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": CONTEXT, "video_token": "<video>"}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<IMG_CONTEXT>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_intern_processor(tokenizer: PreTrainedTokenizerFast, pixels: int) -> InternVLProcessor:
    """A processor whose pictures are one tile of ``pixels``."""
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        padding_side="left",
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        additional_special_tokens=list(SPECIALS[1:]),
        extra_special_tokens=NAMED,
    )
    side = int(pixels**0.5)
    images = GotOcr2ImageProcessor(size={"height": side, "width": side}, crop_to_patches=False)
    tokens = (side // (PATCH * MERGE)) ** 2
    return InternVLProcessor(images, made, InternVLVideoProcessor(), image_seq_length=tokens, chat_template=TEMPLATE)


def make_intern(tokenizer: PreTrainedTokenizerFast, size: Size, pixels: int) -> InternVLForConditionalGeneration:
    """Random weights of that size; the caller sets torch's seed."""
    side = int(pixels**0.5)
    text: dict[str, Any] = {
        "model_type": "qwen3", "vocab_size": len(tokenizer), "hidden_size": size.width, "intermediate_size": size.inner,
        "num_hidden_layers": size.layers, "num_attention_heads": size.heads, "num_key_value_heads": size.key_heads,
        "head_dim": size.width // size.heads, "max_position_embeddings": 4096, "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    }  # fmt: skip
    vision: dict[str, Any] = {
        "hidden_size": size.sight, "num_hidden_layers": size.sight_layers, "num_attention_heads": size.sight_heads,
        "intermediate_size": 4 * size.sight, "image_size": [side, side], "patch_size": [PATCH, PATCH],
    }  # fmt: skip
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(CONTEXT),
        image_seq_length=(side // (PATCH * MERGE)) ** 2,
        downsample_ratio=1 / MERGE,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
