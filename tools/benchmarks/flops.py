"""Counts the floating-point operations of a traced function."""

import math
from collections.abc import Callable, Mapping

import tensorflow as tf

Shape = tuple[int, ...]


def count_flops(function: tf.types.experimental.ConcreteFunction) -> float:
    """Counts the operations of all convolutions and matrix products of a function; a multiply-add counts two.

    What works element by element (batch norm, resizing, losses, optimizer) does not count, so that the figure is that of
    the papers, twice their "multiply-adds". Functions that it calls are counted once for each call, loops once in all.

    Raises:
        ValueError: a shape that matters is not static.
    """
    graph = function.graph.as_graph_def(add_shapes=True)
    functions = {f.signature.name: f for f in graph.library.function}

    def of_nodes(nodes, arguments: Mapping[str, Shape]) -> float:
        shapes = {f"{name}:0": shape for name, shape in arguments.items()}
        for node in nodes:
            for number, shape in enumerate(node.attr["_output_shapes"].list.shape):
                shapes[f"{node.name}:{number}"] = tuple(dim.size for dim in shape.dim)
        total = 0.0
        for node in nodes:
            inputs = [name for name in node.input if not name.startswith("^")]
            if node.op in _RULES:
                total += _RULES[node.op](node, [shapes.get(_output_name(name), ()) for name in inputs], shapes)
            for attribute in node.attr.values():
                if attribute.HasField("func") and attribute.func.name in functions:
                    called = functions[attribute.func.name]
                    known = zip(called.signature.input_arg, inputs, strict=False)
                    total += of_nodes(
                        called.node_def, {arg.name: shapes.get(_output_name(name), ()) for arg, name in known}
                    )
        return total

    return of_nodes(graph.node, {})


def _output_name(name: str) -> str:
    """Returns "node", "node:1" (graph) and "node:output:1" (function body) as "node:number"."""
    parts = name.split(":")
    return f"{parts[0]}:{parts[-1] if len(parts) > 1 else 0}"


def _size(shape: Shape) -> int:
    if any(side < 0 for side in shape):
        raise ValueError(f"a shape is not static: {shape}")
    return math.prod(shape)


def _out(node, shapes: Mapping[str, Shape]) -> Shape:
    return shapes[f"{node.name}:0"]


def _convolution(summed: int, name: str) -> dict[str, Callable[..., float]]:
    """Returns the rules of a convolution and of its gradients, by name of the operation.

    Args:
        summed: How many of the kernel's first sides each output is a sum over: 3, or 2 if it is depthwise.
        name: Name of the convolution's operation.
    """

    def forward(node, inputs, shapes) -> float:
        return 2.0 * _size(_out(node, shapes)) * _size(inputs[1][:summed])

    def to_input(node, inputs, shapes) -> float:
        return 2.0 * _size(inputs[2]) * _size(inputs[1][:summed])

    def to_filter(node, inputs, shapes) -> float:
        return 2.0 * _size(inputs[2]) * _size(_out(node, shapes)[:summed])

    return {name: forward, f"{name}BackpropInput": to_input, f"{name}BackpropFilter": to_filter}


def _matmul(node, inputs, shapes) -> float:
    transposed = node.attr["transpose_a"].b or node.attr["adj_x"].b
    return 2.0 * _size(_out(node, shapes)) * inputs[0][-2 if transposed else -1]


def _einsum(node, inputs, shapes) -> float:
    del shapes
    labels = node.attr["equation"].s.decode().split("->")[0].split(",")
    sides = {letter: side for names, shape in zip(labels, inputs, strict=True) for letter, side in zip(names, shape)}  # noqa: B905
    return 2.0 * _size(tuple(sides.values()))


_RULES: dict[str, Callable[..., float]] = {
    **_convolution(3, "Conv2D"),
    **_convolution(2, "DepthwiseConv2dNative"),
    "MatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "Einsum": _einsum,
}
