"""Which Gemma is built; that it says what transformers says is in test_encoder."""

from pathlib import Path

from models.encoder_export import read_network
from models.encoder_files import read_max_tokens
from models.encoder_gemma import Gemma


def test_of_gemma_only_what_looks_both_ways_is_built(tmp_path: Path) -> None:
    gemma = {
        "model_type": "gemma3_text", "use_bidirectional_attention": True, "hidden_activation": "gelu_pytorch_tanh", "head_dim": 256,
        "num_attention_heads": 3, "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "sliding_window": 512,
        "layer_types": ["sliding_attention", "full_attention"], "rope_theta": 1e6, "rope_local_base_freq": 1e4,
        "max_position_embeddings": 2048, "pad_token_id": 0,
    }  # fmt: skip
    network = read_network(gemma)
    assert network == Gemma(heads=3, shared=1, width=256, scale=1 / 16, epsilon=1e-6, span=257, bases=(1e4, 1e6))
    rotary = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in (("sliding_attention", 1e4), ("full_attention", 1e6))}
    assert read_network(gemma | {"rope_theta": None, "rope_local_base_freq": None, "rope_parameters": rotary}) == network
    assert read_max_tokens(tmp_path, gemma) == 257
    for other in (
        {"use_bidirectional_attention": False}, {"attention_bias": True}, {"attn_logit_softcapping": 30.0}, {"dtype": "bfloat16"},
        {"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1e6}}}, {"rope_scaling": {"factor": 8}},
    ):  # fmt: skip
        assert read_network(gemma | other) is None
