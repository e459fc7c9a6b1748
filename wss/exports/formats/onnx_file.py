"""ONNX: ONNX Runtime, OpenVINO, TensorRT and others, on servers without TensorFlow."""

import logging
from pathlib import Path

import numpy as np

from wss.exports.formats.base import ABOUT, Export, Format, Run
from wss.models.layers.convolution import convolutions_as_such

OPSET = 18


def _write(export: Export, path: Path) -> None:
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # it takes erfc, which is mended below, for an error
    with convolutions_as_such():
        model, _ = tf2onnx.convert.from_function(export.function(), [export.signature], opset=OPSET)
    for node in model.graph.node:
        if node.op_type == "Conv":
            _pad_explicitly(node, onnx)
    _sizes_for_scales(model, onnx)
    _softmax_of_planes(model.graph, onnx)
    _erfc_by_erf(model.graph, onnx)
    _name_sides(model.graph)
    onnx.helper.set_model_props(model, {ABOUT: export.about})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _pad_explicitly(node, onnx) -> None:
    """Replaces "SAME" by numbers at stride 1: ONNX Runtime refuses it there together with an atrous rate."""
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if values.get("auto_pad") != b"SAME_UPPER" or max(values.get("strides", [1])) > 1:
        return
    kernel = values["kernel_shape"]
    reach = [(side - 1) * rate for side, rate in zip(kernel, values.get("dilations", [1, 1]), strict=True)]
    del values["auto_pad"]
    values["pads"] = [*(side // 2 for side in reach), *(side - side // 2 for side in reach)]
    del node.attribute[:]
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in values.items())


def _sizes_for_scales(model, onnx) -> None:
    """Gives each resizing its size in place of two factors, in which float32 may lose the last row or column."""
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in [one for one in model.graph.node if one.op_type == "Resize" and len(one.input) == 3]:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        known = {one.name: one.type.tensor_type.shape.dim for one in (*inferred.value_info, *inferred.input)}
        # Batch and channels first; the batch may be unknown.
        before = [side.dim_value for side in known[node.input[0]]][2:]
        size = np.rint(before * constants[node.input[2]][2:].astype(np.float64)).astype(np.int64)
        name = f"{node.output[0]}_size"
        model.graph.initializer.append(onnx.numpy_helper.from_array(size, name))
        node.input[2] = ""
        node.input.append(name)
        node.attribute.append(onnx.helper.make_attribute("axes", [2, 3]))
        del model.graph.value_info[:]  # it has the sizes by the factors
    used = {name for node in model.graph.node for name in node.input}
    for one in [one for one in model.graph.initializer if one.name not in used]:
        model.graph.initializer.remove(one)


def _softmax_of_planes(graph, onnx) -> None:
    """Writes a softmax over planes [B, C, H, W] as its formula: ONNX Runtime's takes as long as all of MobileNetV2."""
    for node in [one for one in graph.node if one.op_type == "Softmax"]:
        if {one.name: one.i for one in node.attribute}.get("axis", -1) != 1:
            continue
        place, (x,), (y,) = list(graph.node).index(node), node.input, node.output
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), f"{y}_axes"))
        make = lambda op, inputs, output: onnx.helper.make_node(op, inputs, [output], name=output)
        formula = [
            make("ReduceMax", [x, f"{y}_axes"], f"{y}_max"),
            make("Sub", [x, f"{y}_max"], f"{y}_below"),
            make("Exp", [f"{y}_below"], f"{y}_exp"),
            make("ReduceSum", [f"{y}_exp", f"{y}_axes"], f"{y}_sum"),
            make("Div", [f"{y}_exp", f"{y}_sum"], y),
        ]
        graph.node.remove(node)
        for number, one in enumerate(formula):
            graph.node.insert(place + number, one)


def _erfc_by_erf(graph, onnx) -> None:
    """Writes erfc(x), which ONNX does not have, as 1 - erf(x): the GELU of a ViT."""
    for node in [one for one in graph.node if one.op_type == "Erfc"]:
        place, (x,), (y,) = list(graph.node).index(node), node.input, node.output
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.float32), f"{y}_one"))
        graph.node.remove(node)
        graph.node.insert(place, onnx.helper.make_node("Sub", [f"{y}_one", f"{y}_erf"], [y], name=y))
        graph.node.insert(place, onnx.helper.make_node("Erf", [x], [f"{y}_erf"], name=f"{y}_erf"))


def _name_sides(graph) -> None:
    """Names the sides that are not fixed: the same ones in photos, classes and probabilities."""
    for value in (*graph.input, *graph.output):
        for name, side in zip(("batch", "height", "width"), value.type.tensor_type.shape.dim, strict=False):
            if side.dim_param:
                side.dim_param = name


def _open(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes, probabilities = session.run(["classes", "probabilities"], {"photos": photos})
        return classes, probabilities

    return run


ONNX = Format(
    name="onnx",
    file="model.onnx",
    limit=0.001,
    largest=0.01,
    write=_write,
    open=_open,
    packages={"onnx": "onnx", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
    imports=["import onnxruntime"],
    example="""\
session = onnxruntime.InferenceSession(FILE)
about = json.loads(session.get_modelmeta().custom_metadata_map["wss.json"])
classes, probabilities = session.run(["classes", "probabilities"], {"photos": photos})
""",
)
