"""Runs that take seconds: gin bindings, and a backbone of two convolutions for tests of what is around the network."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from wss.models.backbones import registry
from wss.models.layers.convolution import conv_bn

TINY = {
    "build_model.backbone": "'mobilenet_v2'",
    "build_model.depth_multiplier": 0.25,
    "build_model.batch_norm_momentum": 0.9,
    "TrainingData.labeled_split": "'train_1_4'",
    "TrainingData.unlabeled_split": "'train'",
    "TrainingData.labeled_batch_size": 2,
    "TrainingData.unlabeled_batch_size": 2,
    "TrainingData.crop_size": "(33, 33)",
    "Augmentation.cutout_half_side": 4,
    "Evaluation.batch_size": 2,
    "train.method": "@PseudoSeg()",
    "train.num_steps": 6,
    "train.steps_per_loop": 2,
    "train.pictures_every": 0,
}
# With `two_convolutions`: a head without atrous branches and one stream, so that little is left to trace.
SMALL = {**TINY, "build_model.aspp_rates": "()", "build_model.head_depth": 8, "train.method": "@Supervised()"}


def bindings(parameters: dict, data_dir: Path) -> list[str]:
    """Returns a dictionary such as `TINY` as gin bindings, for the data set of a folder."""
    return [f"load_dataset.directory = '{data_dir}'", *(f"{name} = {value}" for name, value in parameters.items())]


@contextlib.contextmanager
def two_convolutions() -> Iterator[None]:
    """Inside, MobileNetV2 is two convolutions with its scope and its roles: what is around a network needs no more."""
    with mock.patch.object(registry, "mobilenet_v2", _two_convolutions):
        yield


def _two_convolutions(x, output_stride: int, depth_multiplier: float, depth_divisor: int, batch_norm: dict) -> dict:
    """Stands in for `wss.models.backbones.mobilenet_v2.mobilenet_v2`."""
    low = conv_bn(x, 8, 3, "MobilenetV2/one", batch_norm, stride=4)
    high = conv_bn(low, 8, 3, "MobilenetV2/two", batch_norm, stride=output_stride // 4)
    return {"layer_4/depthwise_output": low, "layer_18": high, "Conv_1": high}
