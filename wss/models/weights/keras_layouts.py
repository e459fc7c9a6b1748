"""Weights under Keras' names: keras.applications' ResNet-50/101, MobileNetV2 and VGG16, and older ResNet files.

keras.applications calls a ResNet's variables `conv2_block1_1_conv/kernel` and the like, its older versions
`res2a_branch2a/kernel`; MobileNetV2's are `block_1_expand/kernel`, VGG16's `block1_conv1/kernel` and `fc1/kernel`.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np

from wss.errors import UserError, first_line
from wss.models.backbones.registry import backbone_spec
from wss.models.weights.vgg_classifier import decimated

_APPLICATIONS = {
    "resnet_v1_50_keras": "ResNet50",
    "resnet_v1_101_keras": "ResNet101",
    "mobilenet_v2": "MobileNetV2",
    "vgg16_large_fov": "VGG16",
}
# The classifier of VGG16 is a part of the backbone.
_WITH_TOP = ("VGG16",)
_RESNET_OF_BLOCK3 = {6: "resnet_v1_50_keras", 23: "resnet_v1_101_keras"}
_OLD_RESNET_EPSILON = 1e-3

_SUFFIXES = {"kernel": "weights", "depthwise_kernel": "depthwise_weights", "bias": "biases"}
_SUFFIXES |= {name: name for name in ("gamma", "beta", "moving_mean", "moving_variance")}
# Keras 1 called the variance a standard deviation.
_KERAS_1 = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}

_NAME = re.compile(rf"([^/]+?)(?:__|/)({'|'.join(_SUFFIXES)})(?::0)?")
_RESNET = re.compile(r"conv([2-5])_block(\d+)_([0-3])_(conv|bn)")
_OLD_RESNET = re.compile(r"(res|bn)([2-5])([a-z])_branch(1|2a|2b|2c)")
_MOBILENET = re.compile(r"(?:expanded_conv|block(_\d+))_(expand|depthwise|project)(_BN)?")
_VGG = re.compile(r"block([1-5])_conv([1-4])")
_ENDS = {
    "conv1_conv": ("resnet", "conv1"),
    "conv1_bn": ("resnet", "conv1/BatchNorm"),
    "conv1": ("old resnet", "conv1"),
    "bn_conv1": ("old resnet", "conv1/BatchNorm"),
    "Conv1": ("mobilenet", "Conv"),
    "bn_Conv1": ("mobilenet", "Conv/BatchNorm"),
    "Conv_1": ("mobilenet", "Conv_1"),
    "Conv_1_bn": ("mobilenet", "Conv_1/BatchNorm"),
    "fc1": ("vgg", "fc6"),
    "fc2": ("vgg", "fc7"),
}


class _Place(NamedTuple):
    """The place of a variable: the family of networks and its TensorFlow 1 name without the root scope."""

    family: str
    name: str


def is_keras_layout(names: Iterable[str]) -> bool:
    """Returns whether `from_keras_layout` knows any of the names of variables ("layer/weight" or "layer__weight")."""
    return any(_place(name) for name in names)


def from_keras_layout(values: Mapping[str, np.ndarray], backbone: str) -> dict[str, np.ndarray]:
    """Renames variables of Keras for one of our backbones.

    Args:
        values: Arrays by name, "layer/weight" or "layer__weight", convolutions as HWIO, of any float type.
        backbone: "resnet_v1_50_keras", "resnet_v1_101_keras", "mobilenet_v2" or "vgg16_large_fov".

    Returns:
        {TensorFlow 1 name: float32 array}; what is not of the backbone, such as a classifier, keeps its name. The older
        ResNet files were made for an epsilon of 1e-3 in batch normalisation. The moving variance absorbs the difference,
        so that inference is the same. VGG16's two large layers are `decimated`.

    Raises:
        UserError: The variables are those of another network.
    """
    places = {name: _place(name) for name in values}
    fitting = _fitting_backbone([place for place in places.values() if place])
    if fitting != backbone:
        raise UserError(
            f"weights: they are those of keras.applications.{_APPLICATIONS[fitting]}, which do not fit {backbone}; "
            f"set build_model.backbone = {fitting!r}"
        )
    spec = backbone_spec(backbone)
    renamed = {}
    for name, place in places.items():
        value = np.asarray(values[name], np.float32)
        if place and place.family == "old resnet" and place.name.endswith("/moving_variance"):
            value = value + np.float32(_OLD_RESNET_EPSILON - spec.epsilon)
        elif place and place.name.startswith(("fc6/", "fc7/")):
            value = decimated(value, place.name)
        renamed[f"{spec.scope}/{place.name}" if place else name] = value
    return renamed


def read_keras_h5(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a `.h5` of weights as keras.applications downloads it, or of a whole model as Keras 1 and 2 save it.

    Returns:
        {"layer/weight": array}, in the weight names of Keras 2 and 3.

    Raises:
        UserError: There is no such file, or it is not such a file.
    """
    values: dict[str, np.ndarray] = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        name = _h5_name(name)
        if name in values:
            raise UserError(f"{path}: has {name} twice; expected the weights of one network, without nested models")
        values[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            if not any(attribute.startswith("layer_names") for attribute in group.attrs):
                raise UserError(
                    f"{path}: has no attribute layer_names; expected a .h5 as keras.applications downloads it"
                )
            group.visititems(collect)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a .h5 of Keras weights: {first_line(error)}") from error
    return values


def keras_application_values(backbone: str) -> dict[str, np.ndarray]:
    """Returns ImageNet weights {"layer/weight": float32 array} as keras.applications gives them, without the classifier.

    Keras downloads them, if they are not in its cache. Those of VGG16 have the classifier, 550 MB, which gives fc6 and fc7.

    Args:
        backbone: "resnet_v1_50_keras", "resnet_v1_101_keras", "mobilenet_v2" (of depth multiplier 1) or
            "vgg16_large_fov".

    Raises:
        UserError: Keras has no such weights, or they cannot be downloaded.
    """
    if backbone not in _APPLICATIONS:
        raise UserError(f"backbone: Keras has no ImageNet weights for {backbone}, only for {', '.join(_APPLICATIONS)}")
    application = _APPLICATIONS[backbone]
    build = getattr(keras.applications, application)
    try:
        network = build(weights="imagenet", include_top=application in _WITH_TOP, input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises nothing narrower where a download fails.
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras"), "models")
        raise UserError(
            f"keras.applications.{application}: no ImageNet weights: {first_line(error)}; without a network put the file "
            f"of this address into {cache}, or give a .h5 or .npz file of them in place of 'imagenet'"
        ) from error
    return {f"{layer.name}/{weight.name}": weight.numpy() for layer in network.layers for weight in layer.weights}


def _place(name: str) -> _Place | None:
    split = _NAME.fullmatch(name)
    located = split and _locate_layer(split[1])
    if not split or not located:
        return None
    family, scope = located
    suffix = _SUFFIXES[split[2]]
    # Keras 3 calls a depthwise kernel "kernel" too.
    if scope.endswith("/depthwise") and suffix == "weights":
        suffix = "depthwise_weights"
    return _Place(family, f"{scope}/{suffix}")


def _locate_layer(layer: str) -> tuple[str, str] | None:
    """Returns the family and the TensorFlow 1 scope below the root of a Keras layer; None if it is unknown."""
    if match := _RESNET.fullmatch(layer):
        stage, unit, index, kind = match.groups()
        part = ("shortcut", "conv1", "conv2", "conv3")[int(index)]
        return "resnet", _unit_scope(int(stage), int(unit), part, kind == "bn")
    if match := _OLD_RESNET.fullmatch(layer):
        kind, stage, letter, branch = match.groups()
        part = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}[branch]
        return "old resnet", _unit_scope(int(stage), ord(letter) - ord("a") + 1, part, kind == "bn")
    if match := _MOBILENET.fullmatch(layer):
        number, part, batch_norm = match.groups(default="")
        return "mobilenet", f"expanded_conv{number}/{part}" + ("/BatchNorm" if batch_norm else "")
    if match := _VGG.fullmatch(layer):
        block, number = match.groups()
        return "vgg", f"conv{block}/conv{block}_{number}"
    return _ENDS.get(layer)


def _unit_scope(stage: int, unit: int, part: str, batch_norm: bool) -> str:
    return f"block{stage - 1}/unit_{unit}/bottleneck_v1/{part}" + ("/BatchNorm" if batch_norm else "")


def _fitting_backbone(places: list[_Place]) -> str:
    families = {place.family for place in places}
    if len(families) != 1:
        found = " and ".join(sorted(families)) or "no network"
        raise UserError(f"weights: Keras names of {found}, expected those of one network")
    if families == {"mobilenet"}:
        return "mobilenet_v2"
    if families == {"vgg"}:
        if any(place.name.startswith("conv3/conv3_4/") for place in places):
            raise UserError("weights: a VGG with 4 convolutions in block 3 (VGG19), expected 3 (VGG16)")
        return "vgg16_large_fov"
    units = [int(match[1]) for place in places if (match := re.match(r"block3/unit_(\d+)/", place.name))]
    number = max(units, default=0)
    if number not in _RESNET_OF_BLOCK3:
        raise UserError(f"weights: a ResNet with {number} units in block 3, expected 6 (ResNet50) or 23 (ResNet101)")
    return _RESNET_OF_BLOCK3[number]


def _h5_name(name: str) -> str:
    """Makes "layer/weight" of a data set's path: "conv1/conv1/kernel:0", or "conv1/conv1_W_1:0" in Keras 1."""
    layer, *_, weight = name.split("/")
    weight = re.sub(r"(_\d+)?(:0)?$", "", weight.removeprefix(f"{layer}_"))
    return f"{layer}/{_KERAS_1.get(weight, weight)}"
