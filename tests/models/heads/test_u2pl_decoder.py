"""DeepLabv3+'s head in the form of U2PL: its layers by their numbers of weights, shapes, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf
from networks import dataset_of

from wss.errors import UserError
from wss.models.deeplab import build_model
from wss.models.heads.u2pl_decoder import build_u2pl_head


def test_it_has_the_layers_of_u2pl():
    """The weights of each layer by hand: kernel, then bias or none, then gamma and beta of its batch norm."""
    head = build_u2pl_head(21, (None, None, 2048), (None, None, 256))
    conv = lambda size, inputs, outputs, bias=0: size * size * inputs * outputs + bias * outputs + 2 * outputs
    aspp = 2 * conv(1, 2048, 256) + 3 * conv(3, 2048, 256) + conv(3, 5 * 256, 256)
    decoder = conv(1, 256, 256, bias=1) + conv(3, 512, 256, bias=1) + conv(3, 256, 256, bias=1)
    logits = 256 * 21 + 21
    assert sum(np.prod(variable.shape) for variable in head.trainable_variables) == aspp + decoder + logits


@pytest.mark.parametrize(("output_stride", "rates"), [(8, {12, 24, 36}), (16, {6, 12, 18})])
def test_rates_are_those_of_the_output_stride(output_stride, rates):
    head = build_u2pl_head(3, (None, None, 8), (None, None, 8), output_stride=output_stride, depth=4)
    found = {
        layer.dilation_rate[0] for layer in head.layers if layer.name.startswith("aspp") and layer.name[4:].isdigit()
    }
    assert found - {1} == rates


def test_a_network_has_it_and_an_auxiliary_head():
    network = build_model(
        dataset_of(5), backbone="resnet_v1_50_beta", head="deeplab_v3_plus_u2pl", output_stride=8, auxiliary_head=True
    )
    images = tf.random.stateless_uniform([1, 65, 65, 3], [1, 2], 0, 255)
    features = network.features(images)
    assert network.segment(features).shape == (1, 17, 17, 5)
    assert network.auxiliary(features).shape == (1, 9, 9, 5)
    # Biases learn as fast as kernels, unlike in DeepLab.
    assert set(network.rate_factors(last_layer=3.0).values()) == {3.0}


def test_in_training_it_drops_whole_channels():
    head = build_u2pl_head(3, (None, None, 8), (None, None, 8), dropout=0.5, depth=64)
    dropout = head.get_layer("decoder.dropout1")
    dropped = dropout(tf.ones([2, 5, 5, 64]), training=True).numpy()
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert (np.ptp(dropped, axis=(1, 2)) == 0).all()


def test_without_a_decoder_it_is_refused():
    with pytest.raises(UserError, match="deeplab_v3_plus_u2pl, which always has a decoder"):
        build_model(dataset_of(3), head="deeplab_v3_plus_u2pl", use_decoder=False)
