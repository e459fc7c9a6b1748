"""Networks, methods' batches and steps of the tests: the one place that knows how they are put together."""

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.methods.base import Batch, Method
from wss.methods.components.image_classifier import build_classifier
from wss.methods.pseudoseg.branches import PseudoSegBranches, build_sgc
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.models.backbones import registry
from wss.models.deeplab import DeepLab, build_model
from wss.models.layers.convolution import conv_bn
from wss.training.optimizers import Momentum
from wss.training.step import TrainStep
from wss.training.train import build_network


def dataset_of(num_classes: int) -> DatasetInfo:
    """Returns a data set without images, the first class its background."""
    names = ("background", *(f"class_{number}" for number in range(1, num_classes)))
    return DatasetInfo("tiny", names, ((0, 0, 0),) * num_classes, {})


def tiny_model(num_classes: int = 4, *, seed: int = 1, **options) -> DeepLab:
    """Returns a network with PseudoSeg's layers on MobileNetV2 of a quarter of its width.

    Args:
        num_classes: C.
        seed: Seed of the initial weights.
        **options: Parameters of `build_model`.
    """
    keras.utils.set_random_seed(seed)
    options = {"backbone": "mobilenet_v2", "depth_multiplier": 0.25, **options}
    return pseudoseg_network(dataset_of(num_classes), **options)


def pseudoseg_network(info: DatasetInfo, **options) -> DeepLab:
    """Returns a network with PseudoSeg's layers for a data set; `options` are parameters of `build_model`."""
    return build_network(info, PseudoSeg(), **options)


@contextlib.contextmanager
def two_convolutions() -> Iterator[None]:
    """Inside, MobileNetV2 is two convolutions with its scope and its roles: what is around a network needs no more."""
    with mock.patch.object(registry, "mobilenet_v2", _two_convolutions):
        yield


def _two_convolutions(x, output_stride: int, depth_multiplier: float, depth_divisor: int, batch_norm: dict) -> dict:
    """Stands in for `wss.models.backbones.mobilenet_v2.mobilenet_v2`."""
    low = conv_bn(x, 8, 3, scope="MobilenetV2/one", batch_norm=batch_norm, stride=4)
    high = conv_bn(low, 8, 3, scope="MobilenetV2/two", batch_norm=batch_norm, stride=output_stride // 4)
    return {"layer_4/depthwise_output": low, "layer_18": high, "Conv_1": high}


def small_model(num_classes: int = 4, **options) -> DeepLab:
    """Returns a network with small layers of PseudoSeg on two convolutions, without atrous branches or dropout."""
    keras.utils.set_random_seed(0)
    info = dataset_of(num_classes)
    options = {"backbone": "mobilenet_v2", "aspp_rates": (), "head_depth": 8, "dropout": 0.0, **options}
    with two_convolutions():
        network = build_model(info, **options)
    sgc = build_sgc(network, info, attention_dim=4)
    network.branches = PseudoSegBranches(build_classifier(network, info), sgc, network.feature_channels)
    return network


def network_of(method: Method, num_classes: int = 4, **options) -> DeepLab:
    """Returns two convolutions with a method's own layers and its state; `options` are parameters of `build_model`."""
    keras.utils.set_random_seed(0)
    info = dataset_of(num_classes)
    options = {"backbone": "mobilenet_v2", "aspp_rates": (), "head_depth": 8, "dropout": 0.0, **options}
    with two_convolutions():
        network = build_network(info, method, **options)
    network.state = method.build_state(network, info)
    return network


def train_step(
    method: Method,
    strategy: tf.distribute.Strategy | None = None,
    *,
    build: Callable[..., DeepLab] | None = None,
    model_options: dict | None = None,
    head_multiplier: float = 1.0,
    **options,
) -> TrainStep:
    """Returns a step of `small_model` with momentum at a rate of 0.01, on one device or under the given strategy.

    Args:
        method: What is minimised.
        strategy: The strategy to build the network under; None for one device.
        build: Builds the network; None takes `small_model`.
        model_options: Parameters of `small_model`, or of what `build` is.
        head_multiplier: Factor of the learning rate of the heads.
        **options: Parameters of `TrainStep`.
    """
    strategy = strategy or tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model, optimizer = (build or small_model)(**(model_options or {})), Momentum(0.01)
    factors = model.rate_factors(head=head_multiplier)
    return TrainStep(
        strategy, model, method, optimizer=optimizer, **{"weight_decay": 1e-4, "rate_factors": factors, **options}
    )


def take_steps(step: TrainStep, batch: Batch, number: int) -> list[dict[str, float]]:
    """Takes steps on one batch again and again; returns what each reports."""
    batches = tf.data.Dataset.from_tensors(batch).repeat()
    iterator = iter(step.strategy.experimental_distribute_dataset(batches))
    reports = []
    for _ in range(number):
        step.run(iterator, 1)
        reports.append(step.results(1))
    return reports


def random_batch(num_classes: int = 4, *, size: int = 33, batch_size: int = 2, seed: int = 0) -> Batch:
    """Returns a batch of noise as `Method.losses` takes it: four ignored rows, and a hole in the strong views."""
    rng = np.random.default_rng(seed)
    images = lambda: tf.constant(rng.uniform(0, 255, (batch_size, size, size, 3)), tf.float32)
    label = rng.integers(0, num_classes, (batch_size, size, size, 1))
    label[:, :4] = 255
    ones = tf.ones([batch_size, size, size, 1])
    hole = np.ones((batch_size, size, size, 1), np.float32)
    hole[:, 8:16, 8:16] = 0
    label = tf.constant(label, tf.int32)
    # Each image has another half of the classes.
    present = (np.arange(num_classes - 1) + np.arange(batch_size)[:, None]) % 2 == 0
    image_label = tf.constant(present, tf.float32)
    return {
        "labeled": {"image": images(), "label": label, "valid": ones, "image_label": image_label},
        "unlabeled": {
            "weak": images(),
            "strong": images(),
            "label": label,
            "valid": tf.constant(hole),
            "not_padding": ones,
            "image_label": image_label,
            "image_label_known": tf.ones([batch_size]),
            "strong_2": images(),
            "valid_2": ones,
            **{f"again/{name}": images() for name in ("weak", "strong", "strong_2")},
            **{f"again/{name}": ones for name in ("valid", "valid_2", "not_padding")},
        },
    }
