"""The ONNX graph of a sentence encoder, built straight from its weights, with only what tags need: no mask and no padding (texts of one
length). What a network is made of is in ``encoder_bert`` and ``encoder_gemma``; here is what they share.

``int8`` multiplies 8-bit integers: a weight column has one scale, an activation row (one token) has its own, found as the row goes by, so a
text's vector never depends on its batch (a scale per tensor, as onnxruntime's dynamic quantisation has, would make it so). Channels that
are large everywhere are scaled down first and their weights up (SmoothQuant, Xiao et al. 2023), and the few largest of all are multiplied
in float32 beside the others (LLM.int8(), Dettmers et al. 2022); which and by how much is measured on a few texts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper, save

Array = NDArray[np.float32]
Built = tuple[ModelProto, dict[str, tuple[str, Array]]]
MICROSOFT = "com.microsoft"
_MIDDLE = 128
SMOOTHING = 0.4
KEPT_SHARE = 1 / 12


class Scaling(Struct, frozen=True):
    """How the input channels of a linear layer are quantised. ``factors``: what each is divided by, shape (channels,); ``kept``: indices of
    those that stay float32."""

    factors: Array
    kept: NDArray[np.int64]


class Graph(Struct):
    """A graph being written: what it is made from, nodes in order, constants, and input and weight of every linear layer by its name."""

    weights: Mapping[str, Array]
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

    def multiply(self, name: str, hidden: str, weight: Array) -> str:
        """``hidden @ weight.T`` without bias; ``weight`` is (out, in) as transformers keeps it."""
        self.linear[name] = (hidden, weight)
        if self.scaling is None:
            product: str = self.add("MatMul", hidden, self.constant(name + ".weight", weight.T))
            return product
        scaling = self.scaling[name]
        multipliers = 1.0 / scaling.factors
        columns = weight.T * scaling.factors[:, None]
        multipliers[scaling.kept] = columns[scaling.kept] = 0.0
        scales = np.maximum(np.abs(columns).max(axis=0), 1e-12) / 127.0
        flat = self.add("Reshape", hidden, self.scalars(name + ".flat", -1, weight.shape[1]))
        scaled = self.add("Mul", flat, self.constant(name + ".multipliers", multipliers.astype(np.float32)))
        rows, steps = _quantise_rows(self, name, scaled)
        product = self.add(
            "MatMulIntegerToFloat",
            rows,
            self.constant(name + ".weight", np.rint(columns / scales).astype(np.int8)),
            self.constant(name + ".one", np.float32(1.0)),
            self.constant(name + ".scales", scales.astype(np.float32)),
            self.constant(name + ".middle", np.uint8(_MIDDLE)),
            domain=MICROSOFT,
        )
        kept = self.add("Gather", flat, self.constant(name + ".kept", scaling.kept), axis=1)
        exact = self.add("MatMul", kept, self.constant(name + ".exact", weight.T[scaling.kept]))
        total = self.add("Add", self.add("Mul", product, steps), exact)
        shape = self.add("Concat", self.add("Shape", hidden, start=0, end=2), self.scalars(name + ".out", weight.shape[0]), axis=0)
        unflat: str = self.add("Reshape", total, shape)
        return unflat


class Network(Protocol):
    """An architecture that can be built. ``words``: the name of its table of words."""

    words: ClassVar[str]

    def write(self, graph: Graph) -> str:
        """Appends the network; the name of its last hidden states, (texts, tokens, dimension)."""


def read_weights(path: Path, words: str) -> dict[str, Array]:
    """Weights by name, without the prefix of a model with a head."""
    from safetensors.numpy import load_file

    found = {name: tensor.astype(np.float32) for name, tensor in load_file(path).items() if tensor.dtype.kind == "f"}
    prefix = next(name for name in found if name.endswith(words)).removesuffix(words)
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}


def build_graph(
    weights: Mapping[str, Array], network: Network, scaling: Mapping[str, Scaling] | None = None, projection: Array | None = None
) -> Built:
    """The graph ``ids (texts, tokens) int64 -> hidden (texts, tokens, dimension)``.

    Args:
        weights: tensors by their names in transformers.
        network: what they are the weights of.
        scaling: None for float32; for int8 how to quantise, by linear layer (``measure_scaling``).
        projection: what each hidden state is multiplied by at last, (out, in); None for nothing.

    Returns:
        The model, and by linear layer the tensor that enters it and its weight.
    """
    graph = Graph(weights, scaling)
    hidden = network.write(graph)
    if projection is not None:
        hidden = graph.multiply("projection", hidden, projection)
    graph.nodes.append(helper.make_node("Identity", [hidden], ["hidden"]))
    dimension = weights[network.words].shape[1] if projection is None else len(projection)
    return _model(graph.nodes, graph.constants, dimension), graph.linear


def _model(nodes: list[Any], constants: list[Any], dimension: int) -> ModelProto:
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"])
    hidden = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["texts", "tokens", dimension])
    model = helper.make_model(
        helper.make_graph(nodes, "encoder", [ids], [hidden], constants),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)],
    )
    model.ir_version = 10
    return model


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
