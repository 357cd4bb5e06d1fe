"""Build the ONNX graph of a BERT sentence encoder from its safetensors, without PyTorch.

The graph takes `input_ids` and `attention_mask`, both (batch, tokens) int64, and gives `sentence_embedding`
(batch, hidden) float32: mean pooling over the mask and L2 normalisation lie inside it. The token type is always 0 and
folded into the position embeddings. GELU is the exact one (erf), as the model was trained with.

Operators of ONNX Runtime's own domain (`com.microsoft`) are used directly, which saves its optimizer the search for
patterns at each start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Precision: TypeAlias = Literal["int8", "fp32"]
Tensors: TypeAlias = Mapping[str, NDArray[Any]]

_OPSET = 17
_IR_VERSION = 9
_EPSILON = 1e-12
_HEAD_DIM = 32


@dataclass
class _Graph:
    """Nodes and constants in the order they are added; every adder returns the name of its (first) output."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, *, more: tuple[str, ...] = (), **attributes: Any) -> str:
        from onnx import helper

        domain = "com.microsoft" if op in _FUSED else ""
        self.nodes.append(helper.make_node(op, inputs, [output, *more], name=output, domain=domain, **attributes))
        return output


_FUSED = {"Attention", "BiasGelu", "DynamicQuantizeMatMul", "EmbedLayerNormalization", "QAttention"} | {
    "SkipLayerNormalization"
}


def build_graph(tensors: Tensors, precision: Precision, *, weight_type: type[np.int8 | np.uint8] = np.int8) -> bytes:
    """Return the serialised ONNX model.

    Args:
        tensors: the safetensors' content, with the names of a Hugging Face `BertModel`.
        precision: `"fp32"`, or `"int8"`: matrix products on 8-bit weights (one scale a column) and activations
            quantised as they come, word embeddings in 8 bits (one scale a row), everything else in float32.
        weight_type: `np.int8` is nearly twice as fast as `np.uint8` on CPUs with VNNI (734 against 419 questions/s on
            2 cores), but may saturate on those without.
    """
    import onnx
    from onnx import helper

    graph = _Graph()
    layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer."))
    graph.node("Cast", ["attention_mask"], "mask", to=onnx.TensorProto.INT32)
    hidden = _quantized_embeddings(graph, tensors) if precision == "int8" else _embeddings(graph, tensors)
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}."
        weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        hidden = _Layer(graph, f"layer{layer}.", weights, weight_type if precision == "int8" else None).add(hidden)
    _pool(graph, hidden)

    dim = tensors["embeddings.LayerNorm.weight"].shape[0]
    integers = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("sentence_embedding", onnx.TensorProto.FLOAT, ["batch", dim])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "sentence_encoder", integers, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)],
        ir_version=_IR_VERSION,
        producer_name="super-advanced-agents",
    )
    content: bytes = model.SerializeToString()
    return content


def _positions(tensors: Tensors) -> NDArray[Any]:
    positions: NDArray[Any] = (
        tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    return positions


def _embeddings(graph: _Graph, tensors: Tensors) -> str:
    from onnx import TensorProto

    inputs = [
        graph.node("Cast", ["input_ids"], "ids", to=TensorProto.INT32),
        "",
        graph.constant("words", tensors["embeddings.word_embeddings.weight"]),
        graph.constant("positions", _positions(tensors)),
        "",
        graph.constant("embeddings.scale", tensors["embeddings.LayerNorm.weight"]),
        graph.constant("embeddings.shift", tensors["embeddings.LayerNorm.bias"]),
    ]
    return graph.node("EmbedLayerNormalization", inputs, "embedded", more=("mask_index",), epsilon=_EPSILON)


def _quantized_embeddings(graph: _Graph, tensors: Tensors) -> str:
    """Word embeddings in 8 bits: a quarter of the memory, and no measurable change in speed or fidelity."""
    from onnx import TensorProto

    words, scales = _quantized(tensors["embeddings.word_embeddings.weight"], axis=1, kind=np.int8)
    rows = graph.node("Gather", [graph.constant("words", words), "input_ids"], "words.rows")
    row_scales = graph.node("Gather", [graph.constant("words.scales", scales), "input_ids"], "words.row_scales")
    wide = graph.node("Cast", [rows], "words.wide", to=TensorProto.FLOAT)
    embedded = graph.node("Mul", [wide, row_scales], "words.embedded")
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    begin = graph.constant("begin", np.array([0], np.int64))
    places = graph.node("Slice", [graph.constant("positions", _positions(tensors)), begin, length], "places")
    return graph.node(
        "SkipLayerNormalization",
        [
            embedded,
            places,
            graph.constant("embeddings.scale", tensors["embeddings.LayerNorm.weight"]),
            graph.constant("embeddings.shift", tensors["embeddings.LayerNorm.bias"]),
        ],
        "embedded",
        epsilon=_EPSILON,
    )


@dataclass
class _Layer:
    """One encoder layer; `weight_type` is None for float32."""

    graph: _Graph
    name: str
    weights: Tensors
    weight_type: type[np.int8 | np.uint8] | None

    def add(self, hidden: str) -> str:
        attended = self._product(self._attention(hidden), "attention.output.dense.weight")
        middle = self._norm(attended, hidden, "attention.output")
        wide = self._product(middle, "intermediate.dense.weight")
        wide = self.graph.node("BiasGelu", [wide, self._constant("intermediate.dense.bias")], self.name + "gelu")
        return self._norm(self._product(wide, "output.dense.weight"), middle, "output")

    def _constant(self, name: str) -> str:
        return self.graph.constant(self.name + name, self.weights[name])

    def _attention(self, hidden: str) -> str:
        parts = [f"attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self.weights[part + ".weight"].T for part in parts], axis=1)
        bias = np.concatenate([self.weights[part + ".bias"] for part in parts])
        heads = weight.shape[0] // _HEAD_DIM
        name = self.name + "attention"
        biases = self.graph.constant(name + ".bias", bias)
        if self.weight_type is None:
            inputs = [hidden, self.graph.constant(name + ".weight", weight), biases, "mask"]
            return self.graph.node("Attention", inputs, name, num_heads=heads)
        quantized, scales, zeros = self._quantized(name, weight)
        self.graph.node("DynamicQuantizeLinear", [hidden], name + ".x", more=(name + ".x_scale", name + ".x_zero"))
        inputs = [name + ".x", quantized, biases, name + ".x_scale", scales, "mask", name + ".x_zero", zeros]
        return self.graph.node("QAttention", inputs, name, num_heads=heads)

    def _product(self, left: str, weight: str) -> str:
        name = self.name + weight.removesuffix(".weight")
        matrix = self.weights[weight].T
        if self.weight_type is None:
            return self.graph.node("MatMul", [left, self.graph.constant(name + ".weight", matrix)], name)
        return self.graph.node("DynamicQuantizeMatMul", [left, *self._quantized(name, matrix)], name)

    def _norm(self, new: str, old: str, block: str) -> str:
        """Add bias and residual, then normalise, in one operator."""
        inputs = [new, old, self._constant(block + ".LayerNorm.weight"), self._constant(block + ".LayerNorm.bias")]
        inputs.append(self._constant(block + ".dense.bias"))
        return self.graph.node("SkipLayerNormalization", inputs, self.name + block + ".norm", epsilon=_EPSILON)

    def _quantized(self, name: str, matrix: NDArray[Any]) -> tuple[str, str, str]:
        assert self.weight_type is not None
        values, scales = _quantized(matrix, axis=0, kind=self.weight_type)
        zeros = np.full(matrix.shape[1], 128 if self.weight_type is np.uint8 else 0, self.weight_type)
        return (
            self.graph.constant(name + ".weight", values),
            self.graph.constant(name + ".weight_scales", scales.reshape(-1)),
            self.graph.constant(name + ".weight_zeros", zeros),
        )


def _quantized(
    matrix: NDArray[Any], *, axis: int, kind: type[np.int8 | np.uint8]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Symmetric 8-bit values and the float32 scales that give them back, one for each slice along `axis`."""
    scales = np.abs(matrix).max(axis=axis, keepdims=True).astype(np.float32) / np.float32(127)
    scales[scales == 0] = 1
    values = np.rint(matrix / scales)
    return (values + 128 if kind is np.uint8 else values).astype(kind), scales


def _pool(graph: _Graph, hidden: str) -> None:
    """Sum over the mask, then L2: dividing by the number of tokens in between would cancel out."""
    from onnx import TensorProto

    axis = graph.constant("token_axis", np.array([1], np.int64))
    mask = graph.node("Cast", ["attention_mask"], "mask.wide", to=TensorProto.FLOAT)
    row = graph.node("Unsqueeze", [mask, axis], "mask.row")
    total = graph.node("Squeeze", [graph.node("MatMul", [row, hidden], "pooled"), axis], "total")
    graph.node("LpNormalization", [total], "sentence_embedding", axis=-1, p=2)
