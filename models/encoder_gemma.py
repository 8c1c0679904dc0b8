"""The graph of EmbeddingGemma (Schechter Vera et al. 2025): Gemma 3's layers, every token attending to every other.

Of its layers most look no farther than half a window. Texts are cut to what half a window spans, so that all layers see them whole and no
mask is needed. Rotary positions (Su et al. 2021) come from two tables, one for layers that see all and one for those with a window.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from models.encoder_graph import MICROSOFT, Graph


class Gemma(Struct, frozen=True):
    """What the graph needs of ``config.json``. ``width``: of a head; ``shared``: heads of keys and values; ``span``: tokens that all layers
    see whole; ``bases``: rotary base of each layer."""

    heads: int
    shared: int
    width: int
    scale: float
    epsilon: float
    span: int
    bases: tuple[float, ...]

    words: ClassVar[str] = "embed_tokens.weight"

    def write(self, graph: Graph) -> str:
        """Appends the network; the name of its last hidden states, (texts, tokens, dimension)."""
        words = graph.weight(self.words)
        root = np.float32(graph.weights[self.words].shape[1] ** 0.5)
        hidden = graph.add("Mul", graph.add("Gather", words, "ids"), graph.constant("root", root))
        rotary = {base: _rotary(graph, self, number, base) for number, base in enumerate(sorted(set(self.bases)))}
        graph.scalars("first", 0)
        for number, base in enumerate(self.bases):
            hidden = _layer(graph, self, f"layers.{number}.", hidden, rotary[base])
        return _normalise(graph, self, "norm.weight", hidden)


def read_gemma(config: Mapping[str, Any]) -> Gemma | None:
    """The network of a configuration; None for any other kind, Gemma 3 itself included, which only looks back."""
    plain = (
        config.get("hidden_activation") == "gelu_pytorch_tanh"
        and not config.get("attention_bias")
        and not config.get("attn_logit_softcapping")
        and not config.get("rope_scaling")
    )
    if config.get("model_type") != "gemma3_text" or not config.get("use_bidirectional_attention") or not plain:
        return None
    base: dict[str, Any] = {"full_attention": config.get("rope_theta"), "sliding_attention": config.get("rope_local_base_freq")}
    for kind, rotary in (config.get("rope_parameters") or {}).items():
        if rotary.get("rope_type", "default") != "default":
            return None
        base[kind] = rotary["rope_theta"]
    return Gemma(
        heads=int(config["num_attention_heads"]),
        shared=int(config["num_key_value_heads"]),
        width=int(config["head_dim"]),
        scale=float(config["query_pre_attn_scalar"]) ** -0.5,
        epsilon=float(config["rms_norm_eps"]),
        span=int(config["sliding_window"]) // 2 + 1,
        bases=tuple(float(base[kind]) for kind in config["layer_types"]),
    )


def _rotary(graph: Graph, gemma: Gemma, number: int, base: float) -> tuple[str, str]:
    """Cosines and sines of every position, (span, width / 2)."""
    turns = base ** (-np.arange(0, gemma.width, 2) / gemma.width)
    angles = np.arange(gemma.span)[:, None] * turns
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    return graph.constant(f"cos.{number}", cosines), graph.constant(f"sin.{number}", sines)


def _normalise(graph: Graph, gemma: Gemma, name: str, hidden: str, scale: float = 1.0) -> str:
    """Root mean square normalisation (Zhang and Sennrich 2019); Gemma's weights are what is added to 1."""
    weight = graph.constant(name, ((1.0 + graph.weights[name]) * np.float32(scale)).astype(np.float32))
    normalised: str = graph.add("SimplifiedLayerNormalization", hidden, weight, axis=-1, epsilon=gemma.epsilon)
    return normalised


def _layer(graph: Graph, gemma: Gemma, at: str, hidden: str, rotary: tuple[str, str]) -> str:
    """One layer: attention, then the gated feed-forward part, each with a normalisation before and behind it."""
    mixed = _attend(graph, gemma, at, _normalise(graph, gemma, at + "input_layernorm.weight", hidden), rotary)
    hidden = graph.add("Add", hidden, _normalise(graph, gemma, at + "post_attention_layernorm.weight", mixed))
    entering = _normalise(graph, gemma, at + "pre_feedforward_layernorm.weight", hidden)
    up = np.concatenate([graph.weights[at + f"mlp.{part}_proj.weight"] for part in ("gate", "up")])
    gate, inner = graph.add("Split", graph.multiply(at + "mlp.up", entering, up), outputs=2, axis=-1, num_outputs=2)
    inner = graph.add("Mul", graph.add("Gelu", gate, approximate="tanh"), inner)
    inner = graph.multiply(at + "mlp.down", inner, graph.weights[at + "mlp.down_proj.weight"])
    left: str = graph.add("Add", hidden, _normalise(graph, gemma, at + "post_feedforward_layernorm.weight", inner))
    return left


def _attend(graph: Graph, gemma: Gemma, at: str, hidden: str, rotary: tuple[str, str]) -> str:
    """(texts, tokens, dimension) -> the same; several heads of queries share one of keys and values (Ainslie et al. 2023)."""
    attention = at + "self_attn."
    weights = np.concatenate([graph.weights[attention + f"{part}_proj.weight"] for part in "qkv"])
    projected = graph.multiply(attention + "qkv", hidden, weights)
    split = graph.add("Reshape", projected, graph.scalars(attention + "split", 0, 0, gemma.heads + 2 * gemma.shared, gemma.width))
    sizes = graph.scalars(attention + "sizes", gemma.heads, gemma.shared, gemma.shared)
    queries, keys, values = graph.add("Split", graph.add("Transpose", split, perm=[0, 2, 1, 3]), sizes, outputs=3, axis=1)
    queries = _turned(graph, _normalise(graph, gemma, attention + "q_norm.weight", queries, gemma.scale), rotary)
    keys = _turned(graph, _normalise(graph, gemma, attention + "k_norm.weight", keys), rotary)
    queries, keys, values = (
        graph.add("Reshape", heads, graph.scalars(attention + name, 0, gemma.shared, group, -1, gemma.width))
        for heads, name, group in ((queries, "q", gemma.heads // gemma.shared), (keys, "k", 1), (values, "v", 1))
    )
    products = graph.add("MatMul", queries, graph.add("Transpose", keys, perm=[0, 1, 2, 4, 3]))
    mixed = graph.add("MatMul", graph.add("Softmax", products, axis=-1), values)
    joined = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 3, 1, 2, 4]), graph.scalars(attention + "join", 0, 0, -1))
    return graph.multiply(attention + "o_proj", joined, graph.weights[attention + "o_proj.weight"])


def _turned(graph: Graph, heads: str, rotary: tuple[str, str]) -> str:
    """Heads with their positions, (texts, heads, tokens, width)."""
    turned: str = graph.add("RotaryEmbedding", heads, "first", *rotary, domain=MICROSOFT)
    return turned
