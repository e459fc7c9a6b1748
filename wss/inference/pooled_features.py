"""What an encoder says of whole photos: its last features, pooled over the image."""

import numpy as np
import tensorflow as tf

from wss.models.deeplab import DeepLab
from wss.progress import track


def pooled_features(model: DeepLab, images: tf.data.Dataset, batch_size: int) -> np.ndarray:
    """Returns what the image classifier sees: the mean of "cam_features" over space, float64 [N, D].

    Args:
        model: The network.
        images: float32 [H, W, 3] in 0 .. 255, all of one size.
        batch_size: Images at a time.
    """
    pool = tf.function(lambda batch: tf.reduce_mean(model.features(batch)["cam_features"], axis=(1, 2)))
    pool = pool.get_concrete_function(tf.TensorSpec([None, *images.element_spec.shape]))
    batches = images.batch(batch_size).prefetch(tf.data.AUTOTUNE)
    features = [pool(batch).numpy() for batch in track(batches, "features", unit="step")]
    return np.concatenate(features).astype(np.float64)
