"""What follows an image through its views: boxes by hand and against masks, a second mask, several strong views."""

import dataclasses
import shutil

import gin
import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from wss.data.augment import Augmentation
from wss.data.boxes import Box
from wss.data.companions import Companions, boxes_in_view, with_second_mask
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.example import encode_example
from wss.data.geometry import Geometry
from wss.data.masks import encode_mask
from wss.data.record_frames import record_offsets
from wss.data.record_index import Entry, index_path, write_index
from wss.data.resize import resize_to_range
from wss.data.splits import num_with_boxes
from wss.data.streams import Views
from wss.data.training_data import TrainingData
from wss.errors import UserError

GREY = (127.5, 127.5, 127.5)
CROP = (10, 20)


def in_view(boxes, *, size, offset=(0, 0), flip=False, angle=None, crop=CROP, max_boxes=3, crowds=None, valid=None):
    companions = Companions(
        boxes=tf.constant(boxes, tf.float32),
        box_labels=tf.range(1, len(boxes) + 1),
        is_crowd=None if crowds is None else tf.constant(crowds),
        max_boxes=max_boxes,
    )
    angle = None if angle is None else tf.constant(np.deg2rad(angle), tf.float32)
    geometry = Geometry(tf.constant(size), tf.constant(offset), tf.constant(flip), angle)
    valid = tf.constant(np.ones([*crop, 1], np.float32) if valid is None else valid)
    return {name: value.numpy() for name, value in boxes_in_view(companions, geometry, crop, valid=valid).items()}


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
        view = views.weak(image, tf.constant(mask), tf.constant([0, index], tf.int64), companions=companions)
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


def outside_by_hand(boxes, *, size, offset, flip, crop) -> np.ndarray:
    """Each pixel of a view by itself: 1 if the image has it and its middle is in no box."""
    outside = np.zeros(crop, np.float32)
    height, width = (min(side, whole) for side, whole in zip(crop, size, strict=True))
    for row, column in np.ndindex(*crop):
        x, y = (crop[1] - column - 0.5 if flip else column + 0.5), row + 0.5
        in_image = y < height and x < width
        edges = [np.array(box) * [*size, *size] - [*offset, *offset] for box in boxes]
        inside = any(ymin <= y < ymax and xmin <= x < xmax for ymin, xmin, ymax, xmax in edges)
        outside[row, column] = in_image and not inside
    return outside[..., None]


def test_outside_of_all_boxes_by_hand():
    """An image of 3 x 4 pixels at the left of a view of 4 x 6; of three boxes one is a crowd and one tiny."""
    valid = np.zeros([4, 6, 1], np.float32)
    valid[:3, :4] = 1
    boxes = [(0, 0, 1 / 3, 0.5), (2 / 3, 0.75, 1, 1), (0.4, 0.6, 0.6, 0.7)]
    view = {"size": (3, 4), "crop": (4, 6), "valid": valid, "max_boxes": 1}
    found = in_view(boxes, crowds=[True, False, False], **view)
    assert found["box_labels"].tolist() == [2]
    expected = [[0, 0, 1, 1, 0, 0], [1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(found["outside_boxes"][..., 0], expected)
    np.testing.assert_array_equal(in_view(np.zeros([0, 4]), **view)["outside_boxes"], valid)


@pytest.mark.parametrize("index", range(12))
def test_outside_of_all_boxes_against_every_pixel_by_itself(index):
    """Random boxes, scales, crops, flips and paddings."""
    rng = np.random.default_rng(index)
    size, crop = tuple(rng.integers(5, 40, 2).tolist()), tuple(rng.integers(5, 30, 2).tolist())
    offset = tuple(int(rng.integers(0, max(whole - side, 0) + 1)) for whole, side in zip(size, crop, strict=True))
    first = rng.uniform(0, 0.9, [rng.integers(0, 5), 2])
    boxes = np.concatenate([first, first + (1 - first) * rng.uniform(0.01, 0.6, first.shape)], 1)
    view = {"size": size, "offset": offset, "flip": bool(index % 2), "crop": crop}
    everything = outside_by_hand([], **view)
    found = in_view(boxes, valid=everything, max_boxes=1, crowds=rng.random(len(boxes)) < 0.3, **view)["outside_boxes"]
    np.testing.assert_array_equal(found, outside_by_hand(boxes, **view))


def component_boxes(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, list[tuple]]:
    """A mask of rectangles, each a class of its own and in a cell of its own, and their (ymin, xmin, ymax, xmax)."""
    mask, boxes = np.zeros([height, width, 1], np.int32), []
    for label, (row, column) in enumerate(np.ndindex(2, 2), 1):
        cell = np.array([height // 2, width // 2])
        begin = cell * [row, column] + rng.integers(1, cell // 2)
        end = begin + rng.integers(3, cell // 2)
        mask[begin[0] : end[0], begin[1] : end[1]] = label
        boxes.append((*begin, *end))
    return mask, boxes


@pytest.mark.parametrize("resized", [False, True])
def test_boxes_are_where_their_components_are(resized):
    """Resized to a range or scaled by chance, cropped and flipped: a box is its component's extent within a pixel."""
    rng, compared = np.random.default_rng(0), 0
    views = Augmentation(
        (65, 81), GREY, cutout_half_side=20, **({"min_scale": 1.0, "max_scale": 1.0} if resized else {})
    )
    for index in range(25):
        height, width = rng.integers(40, 100, 2).tolist()
        mask, boxes = component_boxes(rng, height, width)
        image, label = tf.zeros([height, width, 3]), tf.constant(mask)
        if resized:
            image, label = resize_to_range(image, label, int(min(height, width) * rng.uniform(0.6, 2)), max_size=160)
        companions = Companions(
            boxes=tf.constant(np.array(boxes) / [height, width, height, width], tf.float32),
            box_labels=tf.range(1, 5),
            max_boxes=4,
        )
        view = views.weak_and_strong(image, label, tf.constant([1, index], tf.int64), companions=companions)
        shown = view["label"].numpy()[..., 0]
        for number in range(view["box_count"].numpy()):
            box, value = view["boxes"].numpy()[number], view["box_labels"].numpy()[number]
            rows, columns = np.nonzero(shown == value)
            if not len(rows):
                assert min(box[2:] - box[:2]) <= 2
                continue
            extent = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(box, extent, atol=1.01, err_msg=f"{index}, {value}")
            compared += 1
        outside, is_object = view["outside_boxes"].numpy()[..., 0], (shown > 0) & (shown < 5)
        assert set(np.unique(outside)) <= {0, 1} and not np.any(outside[view["not_padding"].numpy()[..., 0] == 0])
        if not resized:  # at the scales of the augmentation a pixel's middle is where its label was taken
            assert not np.any(outside[is_object]) and np.all(outside[shown == 0] == 1)
    assert compared > 50


def test_corners_of_a_rotation_are_not_outside():
    views = Augmentation((33, 33), GREY, rotate_degrees=40.0, rotate_probability=1.0, min_scale=1.0, max_scale=1.0)
    companions = Companions(boxes=tf.zeros([0, 4]), box_labels=tf.zeros([0], tf.int32), max_boxes=2)
    image, label = tf.zeros([33, 33, 3]), tf.zeros([33, 33, 1], tf.int32)
    view = views.weak_and_strong(image, label, tf.constant([0, 1], tf.int64), companions=companions)
    np.testing.assert_array_equal(view["outside_boxes"], view["not_padding"])
    assert 0 < view["outside_boxes"].numpy().mean() < 1


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
    split = SplitInfo({"train-0": 4}, num_masks=4, num_image_labels=0, max_size=(24, 30), num_with_boxes=4)
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
        # The crowd covers the whole image.
        assert part["outside_boxes"].shape == (4, 33, 33, 1) and not part["outside_boxes"].any()
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


def test_a_method_that_reads_boxes_needs_them_of_every_image(info, tmp_path):
    split = dataclasses.replace(info.split("train"), num_with_boxes=3)
    some = dataclasses.replace(info, splits={"train": split})
    with pytest.raises(UserError) as error:
        batch_of(some, boxes=2)
    assert str(error.value).startswith(
        "TrainingData.labeled_split = 'train': the objects of 3 of its 4 images are known, but the method reads boxes; "
        "build the records with --boxes or --boxes_from_masks, or make a split"
    )
    batch_of(some)  # others need none


def test_a_data_set_that_does_not_count_its_boxes_is_asked_by_its_index(info, tmp_path):
    """Data sets of older versions."""
    folder = shutil.copytree(info.directory, tmp_path / "old")
    split = dataclasses.replace(info.split("train"), num_with_boxes=0)
    old = dataclasses.replace(info, splits={"train": split}, directory=str(folder))
    assert num_with_boxes(old, "train") == 0 and num_with_boxes(info, "train") == 4
    offsets = list(record_offsets(str(folder / "train-0")))
    entries = [Entry(f"{n}", offset, (24, 30), None, None, 2, "") for n, offset in enumerate(offsets)]
    write_index(index_path(epath.Path(folder / "train-0")), entries)
    assert num_with_boxes(old, "train") == 4
    assert batch_of(old, boxes=2)["labeled"]["boxes"].shape == (4, 2, 4)
    write_index(
        index_path(epath.Path(folder / "train-0")), [dataclasses.replace(entries[0], num_boxes=None), *entries[1:]]
    )
    with pytest.raises(UserError, match="the objects of 3 of its 4 images are known"):
        batch_of(old, boxes=2)


def test_images_with_boxes_and_no_mask_can_be_labelled_images(tmp_path):
    """Nothing of their views has a label, and the image-level labels are the stored ones."""
    image = tf.io.encode_png(np.zeros([24, 30, 3], np.uint8)).numpy()
    with tf.io.TFRecordWriter(str(tmp_path / "boxes-0")) as writer:
        for label in (1, 2):
            boxes = [Box(label=label, xmin=3, ymin=4, xmax=13, ymax=16)]
            name = str(label)
            writer.write(encode_example(image, "png", name, size=(24, 30), image_labels=[label], boxes=boxes))
    split = SplitInfo({"boxes-0": 2}, num_masks=0, num_image_labels=2, max_size=(24, 30), num_with_boxes=2)
    info = DatasetInfo("toy", ("background", "a", "b"), ((0, 0, 0),) * 3, {"boxes": split}, directory=str(tmp_path))
    data = TrainingData(info, GREY, seed=3, labeled_split="boxes", labeled_batch_size=8, crop_size=(65, 65))
    streams = {"labeled": Views(boxes=1, masks=False)}
    data.check(streams)
    (batch,) = data.batches(streams).take(1).as_numpy_iterator()
    part = batch["labeled"]
    assert np.all(part["label"] == 255) and np.all(part["image_label_known"] == 1)
    for labels, box_labels in zip(part["image_label"], part["box_labels"], strict=True):
        assert labels.sum() == 1 and box_labels[0] in (-1, np.argmax(labels) + 1)
    with pytest.raises(UserError, match="labeled_split = 'boxes': 0 of its 2 images have masks"):
        data.check({"labeled": Views(boxes=1)})
