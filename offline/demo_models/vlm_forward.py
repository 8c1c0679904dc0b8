"""The forward pass of training: the modules of the model itself, with all pictures of a batch at once (they have one size) and the
vocabulary computed only where something is learned. ``tests`` hold it against the model's own forward pass."""

from typing import Any

import torch
from torch.nn import functional as nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    apply_rotary_pos_emb_vision,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from offline.demo_models.vlm_rows import Batch


def loss_of(model: Any, batch: Batch, patched: torch.Tensor) -> torch.Tensor:
    """Mean loss of the answers' tokens. ``patched``: the batch's pictures as ``patches`` gives them, or ``tiles`` for InternVL."""
    logits, wanted = logits_of(model, batch, patched)
    return nn.cross_entropy(logits.float(), wanted)


def logits_of(model: Any, batch: Batch, patched: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (tokens, vocabulary) before each token of an answer, and those tokens."""
    inner = model.model
    intern = model.config.model_type == "internvl"
    embedded = inner.get_input_embeddings()(batch.ids)
    if len(patched):
        found = inner.get_image_features(pixel_values=patched).pooler_output if intern else see(inner.visual, patched)
        seen = found.reshape(-1, embedded.shape[-1])
        here = (batch.ids == model.config.image_token_id).unsqueeze(-1)
        embedded = embedded.masked_scatter(here, seen.to(embedded.dtype))
    positions = None if intern else batch.positions  # in three axes; InternVL counts along
    hidden = inner.language_model(inputs_embeds=embedded, position_ids=positions, use_cache=False).last_hidden_state
    chosen = hidden[:, :-1][batch.learned[:, 1:]]
    return model.lm_head(chosen), batch.ids[:, 1:][batch.learned[:, 1:]]


def see(visual: Any, patched: torch.Tensor) -> torch.Tensor:
    """What the vision part makes of pictures of one square size: (n, tokens, width)."""
    count, amount, values = patched.shape
    side = int(amount**0.5)
    grid = torch.tensor([[1, side, side]], device=patched.device)
    merge = visual.spatial_merge_size
    indices, weights = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=merge,
        kwargs={},
    )
    place = (visual.pos_embed(indices) * weights[:, :, None]).sum(1)
    kernel = visual.patch_embed.proj
    hidden = nn.linear(patched.to(kernel.weight.dtype), kernel.weight.reshape(-1, values), kernel.bias) + place
    cos, sin = visual.rotary_pos_emb(hidden, get_vision_position_ids(grid, merge, kwargs={}))
    for block in visual.blocks:
        heads = block.attn.num_heads
        query, key, value = block.attn.qkv(block.norm1(hidden)).reshape(count, amount, 3, heads, -1).permute(2, 0, 1, 3, 4).unbind(0)
        query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
        mixed = nn.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        hidden = hidden + block.attn.proj(mixed.transpose(1, 2).reshape(count, amount, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    merged: torch.Tensor = visual.merger(hidden.reshape(count * amount, -1))
    return merged.reshape(count, amount // merge**2, -1)
