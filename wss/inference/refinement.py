"""The dense CRF after a network, on the processor."""

import concurrent.futures
import functools
import os

import numpy as np
import tensorflow as tf

from wss.ops.dense_crf import CRFSettings, dense_crf


def refine(probabilities: tf.Tensor, images: tf.Tensor, sizes: tf.Tensor, settings: CRFSettings) -> tf.Tensor:
    """Returns the probabilities of a batch after a dense CRF on each image without its padding.

    Args:
        probabilities: float32 [B, H, W, C].
        images: float32 [B, H, W, 3] in 0 .. 255.
        sizes: int32 [B, 2], (height, width) without padding, where probabilities stay as they are; (0, 0) for what fills
            up a batch.
        settings: The parameters of the CRF.
    """
    function = functools.partial(_refined, settings=settings)
    refined = tf.numpy_function(function, [probabilities, images, sizes], tf.float32, stateful=False)
    return tf.ensure_shape(refined, probabilities.shape)


def refined(probabilities: np.ndarray, image: np.ndarray, settings: CRFSettings) -> np.ndarray:
    """Returns the probabilities [H, W, C] of one image [H, W, 3] in 0 .. 255, of any number type, after a dense CRF."""
    return dense_crf(probabilities, np.clip(np.rint(image), 0, 255).astype(np.uint8), settings)


def _refined(probabilities: np.ndarray, images: np.ndarray, sizes: np.ndarray, settings: CRFSettings) -> np.ndarray:
    result = probabilities.copy()

    def one(number: int) -> None:
        height, width = sizes[number]
        if not height * width:
            return  # fills up the last batch
        inside = np.s_[number, :height, :width]
        result[inside] = refined(probabilities[inside], images[inside], settings)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(one, range(len(sizes))))
    return result
