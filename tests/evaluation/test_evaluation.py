"""`Evaluation` under `ResizeToRange`: mIoU counts the pixels of resized images and masks, by hand."""

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from wss.data.info import DatasetInfo, SplitInfo
from wss.data.masks import encode_mask
from wss.data.schema import encode_example
from wss.evaluation.evaluation import Evaluation

GREY = (127.5, 127.5, 127.5)


@pytest.fixture
def model(two_replicas) -> keras.Model:
    """Class 1 where the red channel is above 0.5, else class 0."""
    with two_replicas.scope():
        layer = keras.layers.Conv2D(2, 1)
        model = keras.Sequential([keras.Input((None, None, 3)), layer])
    kernel = np.zeros([1, 1, 3, 2])
    kernel[0, 0, 0, 1] = 20.0
    layer.set_weights([kernel, np.array([0.0, -10.0])])
    model.num_classes, model.mean_pixel = 2, GREY
    return model


@pytest.fixture
def info(tmp_path) -> DatasetInfo:
    """A mask of 5 x 9 pixels whose class is 1 from column 4 on, and it on its side; the images are the masks."""
    lying = np.tile(np.repeat(np.array([0, 1], np.uint8), [4, 5]), (5, 1))
    with tf.io.TFRecordWriter(str(tmp_path / "val.tfrecord")) as writer:
        for name, mask in (("lying", lying), ("standing", lying.T)):
            image = tf.io.encode_png(np.repeat(mask[..., None], 3, axis=-1)).numpy()
            writer.write(encode_example(image, "png", name, *mask.shape, encode_mask(mask)))
    splits = {"val": SplitInfo({"val.tfrecord": 2}, 2, 0, (9, 9))}
    return DatasetInfo("halves", ("zero", "one"), ((0, 0, 0), (255, 0, 0)), splits, directory=str(tmp_path))


def test_without_resize_every_pixel_is_right(model, info, two_replicas):
    result = Evaluation(model, info, two_replicas, batch_size=2)()
    np.testing.assert_array_equal(result.confusion, [[40, 0], [0, 50]])
    assert result.mean_iou == 1.0


def test_resized_images_are_compared_with_resized_masks(model, info, two_replicas):
    """9 x 17 pixels, every second one between two old ones: column 7 is half 0, half 1; nearest rounds up to class 1, and
    the model, at exactly 0.5, says class 0."""
    gin.bind_parameter("ResizeToRange.min_size", 9)
    gin.bind_parameter("ResizeToRange.factor", 8)
    result = Evaluation(model, info, two_replicas, batch_size=2)()
    np.testing.assert_array_equal(result.confusion, [[2 * 9 * 7, 0], [2 * 9, 2 * 9 * 9]])
    np.testing.assert_allclose(result.mean_iou, (7 / 8 + 9 / 10) / 2)
    assert result.num_images == 2
