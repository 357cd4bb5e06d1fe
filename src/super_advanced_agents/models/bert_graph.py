"""Build the ONNX graph of a BERT sentence encoder from safetensors weights, without PyTorch.

The graph takes `input_ids` and `attention_mask`, both (batch, tokens) int64, and returns `sentence_embedding`
(batch, hidden) float32. Mean pooling over the mask and L2 normalisation are part of the graph. The token type is always
0 and is folded into the position embeddings. GELU is the exact variant (erf), with which the model was trained.

The graph uses the fused operators of ONNX Runtime's own domain (`com.microsoft`) directly, so that its optimizer need
not search for them at each start.
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
    # Each method returns the name of the output that it adds.

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def node(
        self, op: str, inputs: list[str], output: str, *, extra_outputs: tuple[str, ...] = (), **attributes: Any
    ) -> str:
        from onnx import helper

        domain = "com.microsoft" if op in _FUSED else ""
        self.nodes.append(
            helper.make_node(op, inputs, [output, *extra_outputs], name=output, domain=domain, **attributes)
        )
        return output


_FUSED = {"Attention", "BiasGelu", "EmbedLayerNormalization", "MatMulIntegerToFloat", "MultiHeadAttention"} | {
    "SkipLayerNormalization"
}


def build_graph(tensors: Tensors, precision: Precision, *, weight_type: type[np.int8 | np.uint8] = np.int8) -> bytes:
    """Build the ONNX model of a BERT sentence encoder from its weights, and return its bytes.

    Args:
        tensors: the safetensors' content, with the names of a Hugging Face `BertModel`.
        precision: `"fp32"` or `"int8"`. In `"int8"`, matrix products use 8-bit weights (one scale per column) and
            activations that are quantised at run time (one scale per token), word embeddings have 8 bits (one scale
            per row), and everything else is float32.
        weight_type: `np.int8` is 1.7 times as fast as `np.uint8` on CPUs with VNNI, but may saturate on CPUs without.

    Returns:
        The bytes of an ONNX `ModelProto`.
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
    return graph.node("EmbedLayerNormalization", inputs, "embedded", extra_outputs=("mask_index",), epsilon=_EPSILON)


def _quantized_embeddings(graph: _Graph, tensors: Tensors) -> str:
    from onnx import TensorProto

    # 8 bits take a quarter of the memory, with no measurable change in speed or fidelity.
    words, scales = _quantize(tensors["embeddings.word_embeddings.weight"], axis=1, kind=np.int8)
    rows = graph.node("Gather", [graph.constant("words", words), "input_ids"], "words.rows")
    graph.node("Shape", ["input_ids"], "batch_shape")
    row_scales = graph.node("Gather", [graph.constant("words.scales", scales), "input_ids"], "words.row_scales")
    wide = graph.node("Cast", [rows], "words.wide", to=TensorProto.FLOAT)
    embedded = graph.node("Mul", [wide, row_scales], "words.embedded")
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    begin = graph.constant("begin", np.array([0], np.int64))
    position_rows = graph.node("Slice", [graph.constant("positions", _positions(tensors)), begin, length], "places")
    return graph.node(
        "SkipLayerNormalization",
        [
            embedded,
            position_rows,
            graph.constant("embeddings.scale", tensors["embeddings.LayerNorm.weight"]),
            graph.constant("embeddings.shift", tensors["embeddings.LayerNorm.bias"]),
        ],
        "embedded",
        epsilon=_EPSILON,
    )


@dataclass
class _Layer:
    graph: _Graph
    name: str
    weights: Tensors
    weight_type: type[np.int8 | np.uint8] | None  # None: float32

    def add(self, hidden: str) -> str:
        attended = self._product(self._attention(hidden), "attention.output.dense")
        middle = self._norm(attended, hidden, "attention.output")
        wide = self._product(middle, "intermediate.dense")
        wide = self.graph.node("BiasGelu", [wide, self._constant("intermediate.dense.bias")], self.name + "gelu")
        return self._norm(self._product(wide, "output.dense", gelu=True), middle, "output")

    def _constant(self, name: str) -> str:
        return self.graph.constant(self.name + name, self.weights[name])

    def _attention(self, hidden: str) -> str:
        parts = [f"attention.self.{part}" for part in ("query", "key", "value")]
        dim = self.weights[parts[0] + ".weight"].shape[0]
        name = self.name + "attention"
        bias = self.graph.constant(name + ".bias", np.concatenate([self.weights[part + ".bias"] for part in parts]))
        if self.weight_type is None:
            weight = np.concatenate([self.weights[part + ".weight"].T for part in parts], axis=1)
            inputs = [hidden, self.graph.constant(name + ".weight", weight), bias, "mask"]
            return self.graph.node("Attention", inputs, name, num_heads=dim // _HEAD_DIM)
        rows = self._quantized_rows(hidden, name, dim, gelu=False)
        inputs = [*(self._integer_product(rows, part) for part in parts), bias, "mask"]
        return self.graph.node("MultiHeadAttention", inputs, name, num_heads=dim // _HEAD_DIM)

    def _product(self, left: str, block: str, *, gelu: bool = False) -> str:
        matrix = self.weights[block + ".weight"].T
        if self.weight_type is None:
            name = self.name + block
            return self.graph.node("MatMul", [left, self.graph.constant(name + ".weight", matrix)], name)
        rows = self._quantized_rows(left, self.name + block, matrix.shape[0], gelu=gelu)
        return self._integer_product(rows, block)

    def _quantized_rows(self, left: str, name: str, width: int, *, gelu: bool) -> tuple[str, str, str]:
        # Each token's activations are quantised by the token's own range. `DynamicQuantizeMatMul` has one range for the
        # whole batch. It is as fast, but a text's vector then depends on the other texts of the batch (cosine down to
        # 0.986), and LoCoMo recall@10 falls by 0.014 instead of 0.000. Returns the values (tokens, width), the scales
        # (tokens, 1) and the zero point.
        node, constant = self.graph.node, self.graph.constant
        top = node("ReduceMax", [left], name + ".top", axes=[-1], keepdims=0)
        if gelu:  # GELU is never below -0.17: 14 steps of 1/241 of a maximum of at least 3 cover that
            zero_point, steps = 14, 241
            peak = node("Max", [top, constant(name + ".least", np.float32(3))], name + ".reach")
        else:
            zero_point, steps = 128, 127
            bottom = node("ReduceMin", [left], name + ".bottom", axes=[-1], keepdims=0)
            least = constant(name + ".least", np.float32(1e-9))
            peak = node("Max", [top, node("Neg", [bottom], name + ".depth"), least], name + ".reach")
        wide = node("Mul", [peak, constant(name + ".step", np.float32(1 / steps))], name + ".token_scales")
        scales = node("Reshape", [wide, constant(name + ".flat", np.array([-1], np.int64))], name + ".scales")
        zero = constant(name + ".zero", np.uint8(zero_point))
        zeros = node("Expand", [zero, node("Shape", [scales], name + ".count")], name + ".zeros")
        shape = constant(name + ".rows_shape", np.array([-1, width], np.int64))
        rows = node("Reshape", [left, shape], name + ".rows")
        values = node("QuantizeLinear", [rows, scales, zeros], name + ".values", axis=0)
        column = constant(name + ".column", np.array([1], np.int64))
        return values, node("Unsqueeze", [scales, column], name + ".scales_column"), zero

    def _integer_product(self, rows: tuple[str, str, str], block: str) -> str:
        assert self.weight_type is not None
        node, constant, name = self.graph.node, self.graph.constant, self.name + block
        values, scales, zero = rows
        matrix = self.weights[block + ".weight"].T
        width = matrix.shape[1]
        weights, weight_scales = _quantize(matrix, axis=0, kind=self.weight_type)
        inputs = [
            values,
            constant(name + ".weight", weights),
            constant(name + ".unscaled", np.float32(1)),
            constant(name + ".weight_scales", weight_scales.reshape(-1)),
            zero,
            constant(name + ".weight_zeros", np.full(width, 128 * (self.weight_type is np.uint8), self.weight_type)),
        ]
        product = node("Mul", [node("MatMulIntegerToFloat", inputs, name + ".integer"), scales], name + ".product")
        tail = constant(name + ".width", np.array([width], np.int64))
        shape = node("Concat", ["batch_shape", tail], name + ".shape", axis=0)
        return node("Reshape", [product, shape], name)

    def _norm(self, new: str, old: str, block: str) -> str:
        inputs = [new, old, self._constant(block + ".LayerNorm.weight"), self._constant(block + ".LayerNorm.bias")]
        inputs.append(self._constant(block + ".dense.bias"))
        return self.graph.node("SkipLayerNormalization", inputs, self.name + block + ".norm", epsilon=_EPSILON)


def _quantize(
    matrix: NDArray[Any], *, axis: int, kind: type[np.int8 | np.uint8]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    # The 8-bit values are symmetric around 0, with one scale for each slice along `axis`.
    scales = np.abs(matrix).max(axis=axis, keepdims=True).astype(np.float32) / np.float32(127)
    scales[scales == 0] = 1
    values = np.rint(matrix / scales)
    return (values + 128 if kind is np.uint8 else values).astype(kind), scales


def _pool(graph: _Graph, hidden: str) -> None:
    from onnx import TensorProto

    # A sum is enough for mean pooling: the L2 normalisation cancels the division by the number of tokens.
    axis = graph.constant("token_axis", np.array([1], np.int64))
    mask = graph.node("Cast", ["attention_mask"], "mask.wide", to=TensorProto.FLOAT)
    row = graph.node("Unsqueeze", [mask, axis], "mask.row")
    total = graph.node("Squeeze", [graph.node("MatMul", [row, hidden], "pooled"), axis], "total")
    graph.node("LpNormalization", [total], "sentence_embedding", axis=-1, p=2)
