"""The compiled step: XLA against TensorFlow's own graph, on a network of two convolutions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from benchmarks.step import batch_of
from networks import with_small_branches

from wss.errors import UserError
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.models.deeplab import DeepLab
from wss.models.heads.aspp_decoder import build_segmentation_head
from wss.models.layers.convolution import conv_bn
from wss.training.optimizers import Momentum
from wss.training.step import TrainStep

CLASSES, CROP = 4, 33


def two_convolutions() -> DeepLab:
    image = keras.Input([CROP, CROP, 3])
    low = conv_bn(image / 255.0, 8, 3, "MobilenetV2/one", {"momentum": 0.9}, stride=4)
    high = conv_bn(low, 8, 3, "MobilenetV2/two", {"momentum": 0.9}, stride=4)
    roles = ("features", "cam_features", "hypercolumn_last", "hypercolumn_previous")
    backbone = keras.Model(image, {"low_level": low} | dict.fromkeys(roles, high), name="mobilenet_v2")
    head = build_segmentation_head(CLASSES, high.shape[1:], low.shape[1:], aspp_rates=(), dropout=0.0, depth=8)
    return with_small_branches(DeepLab(backbone, head, num_classes=CLASSES), CLASSES)


def losses_of_three_steps(jit_compile: bool) -> list[dict[str, float]]:
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model, optimizer = two_convolutions(), Momentum(0.01)
    step = TrainStep(strategy, model, PseudoSeg(), optimizer, weight_decay=1e-4, jit_compile=jit_compile)
    batches = tf.data.Dataset.from_tensors(batch_of(CROP, 2, CLASSES)).repeat()
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    losses = []
    for _ in range(3):
        step.run(iterator, tf.constant(1))
        losses.append(step.results(1))
    return losses


def test_xla_takes_the_same_steps():
    plain, compiled = losses_of_three_steps(False), losses_of_three_steps(True)
    assert plain[0]["total"] != plain[2]["total"]
    for expected, found in zip(plain, compiled, strict=True):
        assert expected.keys() == found.keys()
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-4, atol=1e-5)


def test_xla_wants_one_device(two_replicas):
    with two_replicas.scope():
        model, optimizer = two_convolutions(), Momentum(0.01)
    with pytest.raises(UserError, match="expected one device, found 2"):
        TrainStep(two_replicas, model, PseudoSeg(), optimizer, weight_decay=0.0, jit_compile=True)
