"""Networks of every kind that `build_model` knows, with statistics as after a training."""

import keras
import numpy as np
import tensorflow as tf
from networks import dataset_of

from wss.models.deeplab import DeepLab, build_model
from wss.models.layers.normalization import BatchNorm

SMALL = {
    "mobilenet_v2": {"backbone": "mobilenet_v2", "depth_multiplier": 0.25},
    "cosine": {"backbone": "mobilenet_v2", "depth_multiplier": 0.25, "classifier": "cosine", "use_decoder": False},
}
LARGE = {
    "xception_65": {"backbone": "xception_65"},
    "resnet_v1_50": {"backbone": "resnet_v1_50", "output_stride": 8},
    "resnet_v1_50_beta": {"backbone": "resnet_v1_50_beta", "head": "deeplab_v3_plus_u2pl"},
    "resnet_v1_50_keras": {"backbone": "resnet_v1_50_keras"},
    "pspnet": {"backbone": "resnet_v1_50_beta", "head": "pspnet", "output_stride": 8},
    "deeplab_v2": {"backbone": "resnet_v1_50", "head": "deeplab_v2", "output_stride": 8},
    "deeplab_v2_features": {"backbone": "resnet_v1_50", "head": "deeplab_v2_features", "output_stride": 8},
    "large_fov": {"backbone": "vgg16_large_fov", "head": "large_fov", "output_stride": 8},
}


def network_with_statistics(options: dict, photos: np.ndarray) -> DeepLab:
    """Returns a network whose batch norms have the statistics of photos, and other gammas and betas than at the start."""
    keras.utils.set_random_seed(0)
    network = build_model(dataset_of(3), **options, batch_norm_momentum=0.0)
    draws = np.random.default_rng(0)
    for layer in network._flatten_layers():
        if isinstance(layer, BatchNorm):
            for parameter in filter(lambda one: one is not None, (layer.gamma, layer.beta)):
                parameter.assign(parameter + draws.uniform(-0.2, 0.2, parameter.shape).astype(np.float32))
    for _ in range(2):
        network(tf.constant(photos), training=True)
    return network
