"""What follows an image through its views: boxes by hand and against masks, a second mask, several strong views."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from wss.data.augment import Augmentation
from wss.data.boxes import Box
from wss.data.companions import Companions, boxes_in_view, with_second_mask
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.example import encode_example
from wss.data.geometry import Geometry
from wss.data.masks import encode_mask
from wss.data.streams import Views
from wss.data.training_data import TrainingData

GREY = (127.5, 127.5, 127.5)
CROP = (10, 20)


def in_view(boxes, *, size, offset=(0, 0), flip=False, angle=None, crop=CROP, max_boxes=3):
    companions = Companions(
        boxes=tf.constant(boxes, tf.float32), box_labels=tf.range(1, len(boxes) + 1), max_boxes=max_boxes
    )
    angle = None if angle is None else tf.constant(np.deg2rad(angle), tf.float32)
    geometry = Geometry(tf.constant(size), tf.constant(offset), tf.constant(flip), angle)
    return {name: value.numpy() for name, value in boxes_in_view(companions, geometry, crop).items()}


def test_a_box_is_scaled_cropped_and_flipped_by_hand():
    """(0.2, 0.1, 0.6, 0.5) of 20 x 40 pixels are 4, 4, 12, 20; the crop begins at 4, 6 and has 10 x 20 pixels."""
    plain = in_view([(0.2, 0.1, 0.6, 0.5)], size=(20, 40), offset=(4, 6))
    np.testing.assert_allclose(plain["boxes"], [[0, 0, 8, 14], [0, 0, 0, 0], [0, 0, 0, 0]], atol=1e-5)
    assert plain["box_labels"].tolist() == [1, -1, -1] and plain["box_count"] == 1
    flipped = in_view([(0.2, 0.1, 0.6, 0.5)], size=(20, 40), offset=(4, 6), flip=True)
    np.testing.assert_allclose(flipped["boxes"][0], [0, 6, 8, 20], atol=1e-5)


def test_a_box_never_covers_padding():
    """An image of 8 x 16 pixels in a view of 10 x 20, whose padding is at the right, or at the left once it is flipped."""
    whole = [(0.0, 0.0, 1.0, 1.0)]
    np.testing.assert_allclose(in_view(whole, size=(8, 16))["boxes"][0], [0, 0, 8, 16], atol=1e-5)
    np.testing.assert_allclose(in_view(whole, size=(8, 16), flip=True)["boxes"][0], [0, 4, 8, 20], atol=1e-5)


def test_boxes_outside_go_and_of_too_many_the_largest_stay():
    boxes = [
        (0.0, 0.0, 0.2, 0.2),
        (0.0, 0.0, 0.5, 0.5),
        (0.9, 0.9, 1.0, 1.0),
        (0.0, 0.0, 0.4, 0.4),
        (0.1, 0.1, 0.11, 0.9),
    ]
    found = in_view(
        boxes, size=(20, 40), max_boxes=2
    )  # the third is outside of the crop, the fifth thinner than a pixel
    assert found["box_labels"].tolist() == [2, 4] and found["box_count"] == 2
    none = in_view(np.zeros([0, 4]), size=(20, 40))
    assert none["box_count"] == 0 and none["box_labels"].tolist() == [-1] * 3


@pytest.mark.parametrize("settings", [{}, {"rotate_degrees": 40.0, "rotate_probability": 1.0}])
def test_boxes_are_where_their_mask_is(settings):
    """The mask of one rectangle, as every random view shows it, fills its box; a turned one lies in it."""
    mask = np.zeros([40, 60, 1], np.int32)
    mask[10:30, 15:45] = 1
    image = tf.zeros([40, 60, 3])
    companions = Companions(
        boxes=tf.constant([[10 / 40, 15 / 60, 30 / 40, 45 / 60]]), box_labels=tf.constant([1]), max_boxes=1
    )
    views = Augmentation((33, 49), GREY, **settings)
    shown = 0
    for index in range(20):
        view = views.weak(image, tf.constant(mask), tf.constant([0, index], tf.int64), companions)
        rows, columns = np.nonzero(view["label"].numpy()[..., 0] == 1)
        if view["box_count"].numpy() == 0:
            assert len(rows) <= 60
            continue
        shown += 1
        ymin, xmin, ymax, xmax = view["boxes"].numpy()[0]
        mask_box = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
        box = np.array([ymin, xmin, ymax, xmax])
        assert np.all(mask_box[:2] >= box[:2] - 1.01) and np.all(mask_box[2:] <= box[2:] + 1.01), (index, mask_box, box)
        if not settings:
            np.testing.assert_allclose(mask_box, box, atol=1.01, err_msg=str(index))
    assert shown > 10


@pytest.fixture(scope="module")
def info(tmp_path_factory) -> DatasetInfo:
    """Four images of 24 x 30 pixels; the first two have a second mask, which is another class where the first has one."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / "train-0")) as writer:
        for number in range(4):
            image = tf.io.encode_png(rng.integers(0, 255, (24, 30, 3), np.uint8)).numpy()
            mask = rng.integers(0, 2, (24, 30)).astype(np.uint8)
            boxes = [
                Box(label=1, xmin=3, ymin=4, xmax=13, ymax=16),
                Box(label=2, xmin=0, ymin=0, xmax=30, ymax=24, is_crowd=True),
            ]
            record = encode_example(image, "png", f"{number}", size=(24, 30), mask_png=encode_mask(mask), boxes=boxes)
            writer.write(with_second_mask(record, encode_mask(2 * mask)) if number < 2 else record)
    split = SplitInfo({"train-0": 4}, num_masks=4, num_image_labels=0, max_size=(24, 30))
    return DatasetInfo("toy", ("background", "a", "b"), ((0, 0, 0),) * 3, {"train": split}, directory=str(folder))


def batch_of(info, **views):
    gin.bind_parameter("Augmentation.cutout_half_side", 4)
    data = TrainingData(
        info, GREY, seed=3, labeled_split="train", unlabeled_split="train", labeled_batch_size=4, unlabeled_batch_size=4,
        crop_size=(33, 33),
    )  # fmt: skip
    streams = {"labeled": Views(**views), "unlabeled": Views(**{"masks": False, **views})}
    data.check(streams)
    (batch,) = data.batches(streams).take(1).as_numpy_iterator()
    return batch


def test_every_stream_brings_what_it_was_asked_for(info):
    batch = batch_of(info, strong=2, boxes=2, second_mask=True)
    for stream, weak in (("labeled", "image"), ("unlabeled", "weak")):
        part = batch[stream]
        assert {weak, "strong", "strong_2", "valid_2", "boxes", "second_label"} <= part.keys()
        assert part["boxes"].shape == (4, 2, 4) and part["box_labels"].max() == 1  # no crowds
        assert np.all(part["box_count"] <= 1) and part["box_count"].sum() > 0
        has_second = np.any(part["second_label"] != 255, axis=(1, 2, 3))
        assert has_second.sum() == 2
        first, second = part["label"][has_second], part["second_label"][has_second]
        np.testing.assert_array_equal(second, np.where(first == 1, 2, first))
        assert not np.array_equal(part["strong"], part["strong_2"])


def test_a_method_that_asks_for_nothing_gets_nothing_more(info):
    batch = batch_of(info)
    assert batch["labeled"].keys() == {"image", "label", "valid", "image_label"}
    assert batch["unlabeled"].keys() == {
        *("weak", "label", "valid", "not_padding", "image_label", "image_label_known"),
    }


def test_the_first_strong_view_does_not_depend_on_how_many_follow(info):
    one, three = batch_of(info, strong=1)["unlabeled"], batch_of(info, strong=3)["unlabeled"]
    for name, value in one.items():
        np.testing.assert_array_equal(value, three[name], err_msg=name)
    assert {"strong_3", "valid_3"} <= three.keys()
    # CutOut hides another square of each.
    assert not np.array_equal(three["valid"], three["valid_2"])
