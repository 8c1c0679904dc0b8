"""The graph of BERT (Devlin et al. 2019) and its kin: one product for queries, keys and values, scaled by its weights."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from models.encoder_graph import MICROSOFT, Graph

KINDS = ("bert", "roberta", "xlm-roberta", "camembert")


class Bert(Struct, frozen=True):
    """What the graph needs of ``config.json``. ``first_position``: RoBERTa's positions start behind its padding id."""

    layers: int
    heads: int
    epsilon: float
    first_position: int

    words: ClassVar[str] = "embeddings.word_embeddings.weight"

    def write(self, graph: Graph) -> str:
        """Appends the network; the name of its last hidden states, (texts, tokens, dimension)."""
        hidden = _embed(graph, self)
        for number in range(self.layers):
            hidden = _layer(graph, self, f"encoder.layer.{number}.", hidden)
        return hidden


def read_bert(config: Mapping[str, Any]) -> Bert | None:
    """The network of a configuration; None for any other kind."""
    kind = config.get("model_type")
    plain = config.get("hidden_act") == "gelu" and config.get("position_embedding_type", "absolute") == "absolute"
    if kind not in KINDS or not plain:
        return None
    first = 0 if kind == "bert" else int(config["pad_token_id"]) + 1
    return Bert(int(config["num_hidden_layers"]), int(config["num_attention_heads"]), float(config["layer_norm_eps"]), first)


def _embed(graph: Graph, bert: Bert) -> str:
    """Word, position and type 0 embeddings, normalised. Positions and type are one table: both are known beforehand."""
    weights = graph.weights
    positions = weights["embeddings.position_embeddings.weight"][bert.first_position :]
    types = weights.get("embeddings.token_type_embeddings.weight")
    table = positions if types is None else positions + types[0]
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "ids")
    length = graph.add("Shape", "ids", start=1, end=2)
    places = graph.add("Slice", graph.constant("places", table), graph.scalars("zero", 0), length, graph.scalars("axis", 0))
    return _normalise(graph, bert, "embeddings.LayerNorm", graph.add("Add", words, places))


def _normalise(graph: Graph, bert: Bert, name: str, hidden: str) -> str:
    scale, shift = graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias")
    normalised: str = graph.add("LayerNormalization", hidden, scale, shift, axis=-1, epsilon=bert.epsilon)
    return normalised


def _layer(graph: Graph, bert: Bert, at: str, hidden: str) -> str:
    """One layer: attention, then the feed-forward part, each with residual and normalisation behind it."""
    mixed = _attend(graph, bert, at, _project(graph, bert, at, hidden))
    mixed = _dense(graph, at + "attention.output.dense", mixed)
    hidden = _normalise(graph, bert, at + "attention.output.LayerNorm", graph.add("Add", mixed, hidden))
    up = at + "intermediate.dense"
    inner = graph.multiply(up, hidden, graph.weights[up + ".weight"])
    inner = graph.add("BiasGelu", inner, graph.weight(up + ".bias"), domain=MICROSOFT)
    inner = _dense(graph, at + "output.dense", inner)
    return _normalise(graph, bert, at + "output.LayerNorm", graph.add("Add", inner, hidden))


def _project(graph: Graph, bert: Bert, at: str, hidden: str) -> str:
    """Queries, keys and values by one product; queries come scaled by 1/sqrt(width of a head)."""
    names = [at + f"attention.self.{part}" for part in ("query", "key", "value")]
    scale = np.float32(1.0 / math.sqrt(graph.weights[names[0] + ".bias"].size // bert.heads))
    weights, biases = ([graph.weights[name + kind] for name in names] for kind in (".weight", ".bias"))
    product = graph.multiply(at + "qkv", hidden, np.concatenate([weights[0] * scale, *weights[1:]]))
    projected: str = graph.add("Add", product, graph.constant(at + "qkv.bias", np.concatenate([biases[0] * scale, *biases[1:]])))
    return projected


def _attend(graph: Graph, bert: Bert, at: str, projected: str) -> str:
    """(texts, tokens, 3 * dimension) -> (texts, tokens, dimension)."""
    split = graph.add("Reshape", projected, graph.scalars(at + "split", 0, 0, 3 * bert.heads, -1))
    heads = graph.add("Split", graph.add("Transpose", split, perm=[0, 2, 1, 3]), outputs=3, axis=1, num_outputs=3)
    products = graph.add("MatMul", heads[0], graph.add("Transpose", heads[1], perm=[0, 1, 3, 2]))
    mixed = graph.add("MatMul", graph.add("Softmax", products, axis=-1), heads[2])
    joined: str = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.scalars(at + "join", 0, 0, -1))
    return joined


def _dense(graph: Graph, name: str, hidden: str) -> str:
    added: str = graph.add("Add", graph.multiply(name, hidden, graph.weights[name + ".weight"]), graph.weight(name + ".bias"))
    return added
