"""The demo model before it has learned: a byte-level tokenizer trained on the community's text, a Qwen3-VL processor, random weights."""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from models.prompts import SOURCES

END, TURN, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION, VISION_END, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIALS = (END, TURN, TURN_END, VISION, VISION_END, IMAGE, VIDEO)
GLUE = ('[{"text":"', '","dimension":"', '},{"text":"', "}]", *(f'","source":"{source}"' for source in SOURCES))
"""What stands between the parts of an answer, one token each: an answer is then hardly longer than its tags."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_WORDS = f"[{_HAN}]|[^\\S\\n]?[^\\W\\d_{_HAN}]+|\\d|[^\\S\\n]?[^\\w\\s]|_|\\s+"
PATCH, MERGE = 16, 2


class Size(Struct, frozen=True):
    """How large the model is. ``width``, ``layers``, ``inner``, ``heads``: of the language part; ``sight*``: of the vision part."""

    vocabulary: int = 4096
    width: int = 256
    layers: int = 6
    inner: int = 576
    heads: int = 8
    key_heads: int = 4
    sight: int = 160
    sight_layers: int = 4
    sight_heads: int = 5


BASE = Size(vocabulary=2560, width=160, layers=4, inner=320, heads=5, key_heads=1, sight=64, sight_layers=3, sight_heads=4)
"""Of the base models that distillation begins with in the demo."""


def train_tokenizer(texts: Iterable[str], words: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE. A Chinese character is at most one token, whatever stands beside it, so that copying is copying. ``GLUE``
    and those of ``words`` (ids of dimensions) that no text contains, having an underscore, are one token each."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = [*GLUE, *dict.fromkeys(word for word in words if "_" in word)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(added) - len(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(added)
    tokenizer.add_special_tokens(list(SPECIALS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="left", eos_token=TURN_END, pad_token=END, additional_special_tokens=list(SPECIALS[1:])
    )


def make_processor(tokenizer: PreTrainedTokenizerFast, pixels: int) -> Qwen3VLProcessor:
    """A processor whose pictures have at most ``pixels``."""
    side = PATCH * MERGE
    size = {"shortest_edge": side * side, "longest_edge": pixels}
    images = Qwen2VLImageProcessor(patch_size=PATCH, merge_size=MERGE, temporal_patch_size=2, size=size)
    videos = Qwen3VLVideoProcessor(patch_size=PATCH, merge_size=MERGE, temporal_patch_size=2)
    return Qwen3VLProcessor(image_processor=images, tokenizer=tokenizer, video_processor=videos, chat_template=TEMPLATE)


def make_model(tokenizer: PreTrainedTokenizerFast, size: Size, pixels: int) -> Qwen3VLForConditionalGeneration:
    """Random weights of that size; the caller sets torch's seed."""
    head = size.width // size.heads
    text: dict[str, Any] = {
        "vocab_size": size.vocabulary, "hidden_size": size.width, "intermediate_size": size.inner, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "num_key_value_heads": size.key_heads, "head_dim": head, "max_position_embeddings": 4096,
        "tie_word_embeddings": True, "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": _sections(head), "mrope_interleaved": True},
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": size.sight_layers, "hidden_size": size.sight, "intermediate_size": 4 * size.sight, "num_heads": size.sight_heads,
        "patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": 2, "out_hidden_size": size.width,
        "num_position_embeddings": (int(pixels**0.5) // PATCH) ** 2, "deepstack_visual_indexes": [],
    }  # fmt: skip
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _NAMED.items()}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


_NAMED = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": VISION, "vision_end_token_id": VISION_END}


def _sections(head: int) -> list[int]:
    """Half a head's width over time, height and width."""
    third = head // 2 // 3
    return [head // 2 - 2 * third, third, third]
