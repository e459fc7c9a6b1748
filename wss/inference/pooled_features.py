"""What an encoder says of whole photos: its last features, pooled over the image."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.record_damage import damage_told, validate_records
from wss.data.record_files import split_records
from wss.models.deeplab import DeepLab
from wss.progress import track


def pooled_features(model: DeepLab, images: tf.data.Dataset, batch_size: int, *, what: str = "features") -> np.ndarray:
    """Returns what the image classifier sees: the mean of "cam_features" over space, float64 [N, D].

    Args:
        model: The network.
        images: float32 [H, W, 3] in 0 .. 255, all of one size.
        batch_size: Images at a time.
        what: A few words for its progress.
    """
    pool = tf.function(lambda batch: tf.reduce_mean(model.features(batch)["cam_features"], axis=(1, 2)))
    pool = pool.get_concrete_function(tf.TensorSpec([None, *images.element_spec.shape]))
    batches = images.batch(batch_size).prefetch(tf.data.AUTOTUNE)
    features = [pool(batch).numpy() for batch in track(batches, what, unit="step")]
    return np.concatenate(features).astype(np.float64)


def features_by_id(
    model: DeepLab,
    info: DatasetInfo,
    ids: Mapping[str, Sequence[str]],
    *,
    image_size: int = 225,
    batch_size: int = 32,
) -> dict[str, np.ndarray]:
    """Returns the pooled features of the images of some splits, float32 [D] by id; masks are not looked at.

    Args:
        model: The network.
        info: The data set.
        ids: Ids of the images of each split, in its order. A split whose images are all in the splits before is not read.
        image_size: Side in pixels to which whole images are resized, whatever their shape.
        batch_size: Images at a time.

    Raises:
        UserError: A split is missing or damaged, or the network takes no such size.
    """
    model.padding.check("--image_size", (image_size, image_size))
    found: dict[str, np.ndarray] = {}
    for split, names in ids.items():
        if not found.keys() >= set(names):
            found |= zip(names, _split_features(model, info, split, image_size, batch_size), strict=True)
    return found


def _split_features(model: DeepLab, info: DatasetInfo, split: str, image_size: int, batch_size: int) -> np.ndarray:
    """Returns the pooled features of a split's images in its order, float32 [N, D]."""
    validate_records(info, split)
    largest = info.split(split).max_size

    def image_of(serialized: tf.Tensor) -> tf.Tensor:
        example = parse_example(serialized, info.num_classes, info.has_background, use_mask=False, max_size=largest)
        return tf.image.resize(example["image"], [image_size, image_size], antialias=True)

    images = split_records(info, split).map(image_of, num_parallel_calls=tf.data.AUTOTUNE)
    with damage_told((info, split)):
        return pooled_features(model, images, batch_size, what=f"features of {split!r}").astype(np.float32)
