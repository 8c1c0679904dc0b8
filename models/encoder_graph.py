"""The ONNX graph of a BERT-like encoder (Devlin et al. 2019), built straight from its weights, with only what tags need.

No mask and no padding (texts of one length), one product for queries, keys and values with the 1/sqrt(width) of the heads folded in.

``int8`` multiplies 8-bit integers: a weight column has one scale, an activation row (one token) has its own, found as the row goes by, so a
text's vector never depends on its batch (a scale per tensor, as onnxruntime's dynamic quantisation has, would make it so). Channels that
are large everywhere are scaled down first and their weights up (SmoothQuant, Xiao et al. 2023), and the few largest of all are multiplied
in float32 beside the others (LLM.int8(), Dettmers et al. 2022); which and by how much is measured on a few texts.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper, save

Array = NDArray[np.float32]
Built = tuple[ModelProto, dict[str, tuple[str, Array]]]
_MICROSOFT = "com.microsoft"
_MIDDLE = 128
SUPPORTED = ("bert", "roberta", "xlm-roberta", "camembert")
SMOOTHING = 0.4
KEPT_SHARE = 1 / 12


class Shape(Struct, frozen=True):
    """What the graph needs of ``config.json``. ``first_position``: RoBERTa's positions start behind its padding id."""

    layers: int
    heads: int
    epsilon: float
    first_position: int


class Scaling(Struct, frozen=True):
    """How the input channels of a linear layer are quantised. ``factors``: what each is divided by, shape (channels,); ``kept``: indices of
    those that stay float32."""

    factors: Array
    kept: NDArray[np.int64]


class Graph(Struct):
    """A graph being written: what it is made from, nodes in order, constants, and input and weight of every linear layer by its name."""

    weights: Mapping[str, Array]
    shape: Shape
    scaling: Mapping[str, Scaling] | None
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    linear: dict[str, tuple[str, Array]] = field(default_factory=dict)

    def add(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Appends a node; its output's name, or a list of names."""
        names = [f"{op}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Adds a constant; its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str) -> str:
        """Adds a weight as it is; its name."""
        return self.constant(name, self.weights[name])

    def scalars(self, name: str, *values: int) -> str:
        """A constant vector of integers."""
        return self.constant(name, np.array(values, np.int64))


def read_shape(config: Mapping[str, Any]) -> Shape | None:
    """The shape of an encoder that can be built here; None for any other kind (it is traced instead)."""
    kind = config.get("model_type")
    plain = config.get("hidden_act") == "gelu" and config.get("position_embedding_type", "absolute") == "absolute"
    if kind not in SUPPORTED or not plain or "bfloat16" in (config.get("dtype"), config.get("torch_dtype")):
        return None
    first = 0 if kind == "bert" else int(config["pad_token_id"]) + 1
    return Shape(int(config["num_hidden_layers"]), int(config["num_attention_heads"]), float(config["layer_norm_eps"]), first)


def read_weights(path: Path) -> dict[str, Array]:
    """Weights by name, without the prefix of a model with a head."""
    from safetensors.numpy import load_file

    found = {name: tensor.astype(np.float32) for name, tensor in load_file(path).items() if tensor.dtype.kind == "f"}
    prefix = next(name for name in found if name.endswith("embeddings.word_embeddings.weight")).removesuffix(
        "embeddings.word_embeddings.weight"
    )
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}


def build_graph(weights: Mapping[str, Array], shape: Shape, scaling: Mapping[str, Scaling] | None = None) -> Built:
    """The graph ``ids (texts, tokens) int64 -> hidden (texts, tokens, dimension)``.

    Args:
        weights: tensors by their names in transformers.
        shape: layers and heads.
        scaling: None for float32; for int8 how to quantise, by linear layer (``measure_scaling``).

    Returns:
        The model, and by linear layer the tensor that enters it and its weight.
    """
    graph = Graph(weights, shape, scaling)
    hidden = _embed(graph)
    for number in range(shape.layers):
        hidden = _layer(graph, f"encoder.layer.{number}.", hidden)
    graph.nodes.append(helper.make_node("Identity", [hidden], ["hidden"]))
    return _model(graph.nodes, graph.constants, weights["embeddings.word_embeddings.weight"].shape[1]), graph.linear


def _model(nodes: list[Any], constants: list[Any], dimension: int) -> ModelProto:
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"])
    hidden = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["texts", "tokens", dimension])
    model = helper.make_model(
        helper.make_graph(nodes, "encoder", [ids], [hidden], constants),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(_MICROSOFT, 1)],
    )
    model.ir_version = 10
    return model


def _embed(graph: Graph) -> str:
    """Word, position and type 0 embeddings, normalised. Positions and type are one table: both are known beforehand."""
    weights = graph.weights
    positions = weights["embeddings.position_embeddings.weight"][graph.shape.first_position :]
    types = weights.get("embeddings.token_type_embeddings.weight")
    table = positions if types is None else positions + types[0]
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "ids")
    length = graph.add("Shape", "ids", start=1, end=2)
    places = graph.add("Slice", graph.constant("places", table), graph.scalars("zero", 0), length, graph.scalars("axis", 0))
    return _normalise(graph, "embeddings.LayerNorm", graph.add("Add", words, places))


def _normalise(graph: Graph, name: str, hidden: str) -> str:
    scale, shift = graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias")
    normalised: str = graph.add("LayerNormalization", hidden, scale, shift, axis=-1, epsilon=graph.shape.epsilon)
    return normalised


def _layer(graph: Graph, at: str, hidden: str) -> str:
    """One layer: attention, then the feed-forward part, each with residual and normalisation behind it."""
    mixed = _attend(graph, at, _project(graph, at, hidden))
    mixed = _dense(graph, at + "attention.output.dense", mixed)
    hidden = _normalise(graph, at + "attention.output.LayerNorm", graph.add("Add", mixed, hidden))
    up = at + "intermediate.dense"
    inner = _linear(graph, up, graph.weights[up + ".weight"], hidden)
    inner = graph.add("BiasGelu", inner, graph.weight(up + ".bias"), domain=_MICROSOFT)
    inner = _dense(graph, at + "output.dense", inner)
    return _normalise(graph, at + "output.LayerNorm", graph.add("Add", inner, hidden))


def _project(graph: Graph, at: str, hidden: str) -> str:
    """Queries, keys and values by one product; queries come scaled by 1/sqrt(width of a head)."""
    names = [at + f"attention.self.{part}" for part in ("query", "key", "value")]
    scale = np.float32(1.0 / math.sqrt(graph.weights[names[0] + ".bias"].size // graph.shape.heads))
    weights, biases = ([graph.weights[name + kind] for name in names] for kind in (".weight", ".bias"))
    product = _linear(graph, at + "qkv", np.concatenate([weights[0] * scale, *weights[1:]]), hidden)
    projected: str = graph.add("Add", product, graph.constant(at + "qkv.bias", np.concatenate([biases[0] * scale, *biases[1:]])))
    return projected


def _attend(graph: Graph, at: str, projected: str) -> str:
    """(texts, tokens, 3 * dimension) -> (texts, tokens, dimension)."""
    split = graph.add("Reshape", projected, graph.scalars(at + "split", 0, 0, 3 * graph.shape.heads, -1))
    heads = graph.add("Split", graph.add("Transpose", split, perm=[0, 2, 1, 3]), outputs=3, axis=1, num_outputs=3)
    products = graph.add("MatMul", heads[0], graph.add("Transpose", heads[1], perm=[0, 1, 3, 2]))
    mixed = graph.add("MatMul", graph.add("Softmax", products, axis=-1), heads[2])
    joined: str = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.scalars(at + "join", 0, 0, -1))
    return joined


def _dense(graph: Graph, name: str, hidden: str) -> str:
    added: str = graph.add("Add", _linear(graph, name, graph.weights[name + ".weight"], hidden), graph.weight(name + ".bias"))
    return added


def _linear(graph: Graph, name: str, weight: Array, hidden: str) -> str:
    """``hidden @ weight.T`` without bias; ``weight`` is (out, in) as transformers keeps it."""
    graph.linear[name] = (hidden, weight)
    if graph.scaling is None:
        product: str = graph.add("MatMul", hidden, graph.constant(name + ".weight", weight.T))
        return product
    scaling = graph.scaling[name]
    multipliers = 1.0 / scaling.factors
    columns = weight.T * scaling.factors[:, None]
    multipliers[scaling.kept] = columns[scaling.kept] = 0.0
    scales = np.maximum(np.abs(columns).max(axis=0), 1e-12) / 127.0
    flat = graph.add("Reshape", hidden, graph.scalars(name + ".flat", -1, weight.shape[1]))
    rows, steps = _quantise_rows(graph, name, graph.add("Mul", flat, graph.constant(name + ".multipliers", multipliers.astype(np.float32))))
    product = graph.add(
        "MatMulIntegerToFloat",
        rows,
        graph.constant(name + ".weight", np.rint(columns / scales).astype(np.int8)),
        graph.constant(name + ".one", np.float32(1.0)),
        graph.constant(name + ".scales", scales.astype(np.float32)),
        graph.constant(name + ".middle", np.uint8(_MIDDLE)),
        domain=_MICROSOFT,
    )
    kept = graph.add("Gather", flat, graph.constant(name + ".kept", scaling.kept), axis=1)
    exact = graph.add("MatMul", kept, graph.constant(name + ".exact", weight.T[scaling.kept]))
    total = graph.add("Add", graph.add("Mul", product, steps), exact)
    shape = graph.add("Concat", graph.add("Shape", hidden, start=0, end=2), graph.scalars(name + ".out", weight.shape[0]), axis=0)
    unflat: str = graph.add("Reshape", total, shape)
    return unflat


def _quantise_rows(graph: Graph, name: str, rows: str) -> tuple[str, str]:
    """Rows (tokens, channels) as unsigned bytes around 128, and the width of a step in each row, (tokens, 1).

    Unsigned, because onnxruntime 1.32 has fast kernels on x86 only for unsigned times signed (signed times signed: 15 times slower).
    """
    largest = graph.add("ReduceMax", graph.add("Abs", rows), graph.scalars(name + ".last", -1), keepdims=1)
    steps = graph.add("Mul", largest, graph.constant(name + ".step", np.float32(1.0 / 127.0)))
    steps = graph.add("Max", steps, graph.constant(name + ".least", np.float32(1e-12)))
    by_row = graph.add("Reshape", steps, graph.scalars(name + ".row", -1))
    middles = graph.add("ConstantOfShape", graph.add("Shape", by_row), value=numpy_helper.from_array(np.array([_MIDDLE], np.uint8)))
    return graph.add("QuantizeLinear", rows, by_row, middles, axis=0), steps


def measure_scaling(model: ModelProto, linear: Mapping[str, tuple[str, Array]], texts: Sequence[Sequence[int]]) -> dict[str, Scaling]:
    """How to quantise the input channels of each linear layer.

    Args:
        model: the float32 graph.
        linear: input tensor and weight by layer, as ``build_graph`` returns them.
        texts: token ids of texts to measure activations on.
    """
    import onnxruntime

    watched = ModelProto()
    watched.CopyFrom(model)
    tensors = sorted({tensor for tensor, _ in linear.values()})
    watched.graph.output.extend(ValueInfoProto(name=tensor) for tensor in tensors)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    largest: dict[str, Array] = {}
    for ids in texts:
        for tensor, value in zip(tensors, session.run(tensors, {"ids": np.array([ids], np.int64)}), strict=True):
            found = np.abs(value[0]).max(axis=0)
            largest[tensor] = np.maximum(largest.get(tensor, found), found)
    return {name: _scaling(largest[tensor], np.abs(weight).max(axis=0)) for name, (tensor, weight) in linear.items()}


def _scaling(activation: Array, weight: Array) -> Scaling:
    """Factors balance the largest activation of a channel against its largest weight; kept are those largest after the division."""
    factors = np.maximum(activation, 1e-3) ** SMOOTHING / np.maximum(weight, 1e-4) ** (1.0 - SMOOTHING)
    kept = np.argsort(-activation / factors, kind="stable")[: max(1, round(KEPT_SHARE * activation.size))]
    return Scaling(factors.astype(np.float32), np.sort(kept).astype(np.int64))


def save_graph(model: ModelProto, path: Path) -> None:
    """Writes a model, with its weights beside it where they exceed what one file may hold."""
    big = model.ByteSize() > 1_900_000_000
    save(model, str(path), save_as_external_data=big, location="model.data" if big else None)
