"""Resizing to a range: the original's goldens, sizes by hand, and that training and evaluation read resized images."""

import io

import gin
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.data.crops import aligned_range, nearest_sources, resize_crop
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.evaluation_data import evaluation_batches
from wss.data.example import encode_example, image_size
from wss.data.masks import encode_mask
from wss.data.padding import Padding
from wss.data.resize import ResizeToRange, resize_to_range, size_in_range
from wss.data.streams import Views, unpacked
from wss.data.training_data import TrainingData
from wss.errors import UserError

GREY = (127.5, 127.5, 127.5)
ROUNDED = 0.501  # grey levels, of training views


@pytest.fixture(scope="module")
def golden(goldens):
    return dict(np.load(goldens / "preprocess_eval.npz"))


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def data_set(folder, *pairs, num_classes=21) -> DatasetInfo:
    """Records of a split "val", one for each (image, mask)."""
    with tf.io.TFRecordWriter(str(folder / "val.tfrecord")) as writer:
        for number, (image, mask) in enumerate(pairs):
            height, width = image.shape[:2]
            mask = encode_mask(mask)
            writer.write(encode_example(encoded(image), "png", f"{number}", size=(height, width), mask_png=mask))
    largest = tuple(max(image.shape[axis] for image, _ in pairs) for axis in (0, 1))
    splits = {"val": SplitInfo({"val.tfrecord": len(pairs)}, len(pairs), 0, largest)}
    names = tuple(f"class {c}" for c in range(num_classes))
    return DatasetInfo("test", names, ((0, 0, 0),) * num_classes, splits, directory=str(folder))


def bind(**parameters) -> None:
    for name, value in parameters.items():
        gin.bind_parameter(f"ResizeToRange.{name}", value)


@pytest.mark.parametrize("case", range(4))
def test_resize_equals_original(golden, parity, case):
    values = [None if value < 0 else int(value) for value in golden[f"resize_to_range/{case}/min_max_factor"]]
    limits = dict(zip(("min_size", "max_size", "factor"), values, strict=True))
    image, label = tf.constant(golden["image"], tf.float32), tf.constant(golden["label"], tf.int32)
    unknown_size = [tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, None, 1], tf.int32)]
    resize = lambda image, label: resize_to_range(image, label, **limits)
    for run in (resize, tf.function(resize, input_signature=unknown_size), ResizeToRange(**limits)):
        resized, resized_label = run(image, label)
        compare(parity, resized, resized_label, golden, f"resize_to_range/{case}")


def compare(parity, image, label, golden, prefix):
    parity.check("preprocess_eval", "resize_to_range", image, golden[f"{prefix}/image"], 1e-4)
    parity.check("preprocess_eval", "labels and valid masks", label, golden[f"{prefix}/label"], 0, "different")


def test_evaluation_equals_original(golden, parity, tmp_path):
    """The golden's limits lie between 47 and 65, at most 65, with factor 16: all of them give 49 x 65 pixels."""
    info = data_set(tmp_path, (golden["image"], golden["label"][..., 0]))
    bind(min_size=49, max_size=65, factor=16)
    (batch,) = evaluation_batches(info, "val", 1, padding=Padding(GREY), size=(65, 65)).as_numpy_iterator()
    compare(parity, batch["image"][0], batch["label"][0], golden, "eval_resize")
    np.testing.assert_array_equal(batch["valid"][0], golden["eval_resize/valid"])
    np.testing.assert_array_equal(batch["size"], [[49, 65]])


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((100, 200), (50, None, None), (50, 100)),
        ((200, 100), (50, None, None), (100, 50)),
        ((100, 200), (50, 80, None), (40, 80)),
        ((100, 200), (50, 100, None), (50, 100)),  # exactly at the limit
        ((100, 200), (50, 80, 16), (33, 65)),  # 80 becomes 65, the shorter side 32.5, 32, 33
        ((100, 200), (50, None, 16), (65, 113)),
        ((30, 50), (65, None, 16), (65, 113)),  # 65 * 50 / 30 = 108.3; small images grow
        ((33, 33), (33, 33, 16), (33, 33)),
        ((1, 500), (10, 50, None), (1, 50)),  # not 0.1
    ],
)
def test_sizes_by_hand(size, limits, expected):
    limits = dict(zip(("min_size", "max_size", "factor"), limits, strict=True))
    assert tuple(size_in_range(tf.constant(size), **limits).numpy()) == expected


def test_off_leaves_images_alone():
    image, label = tf.zeros([5, 7, 3]), tf.zeros([5, 7, 1], tf.int32)
    same = ResizeToRange()(image, label)
    assert same[0] is image and same[1] is label


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_size": 500}, "ResizeToRange.max_size = 500 does nothing without ResizeToRange.min_size"),
        ({"factor": 16}, "ResizeToRange.factor = 16 does nothing without"),
        ({"min_size": 0}, "ResizeToRange.min_size = 0, expected an integer from 1 to 8192, or None"),
        ({"min_size": 9, "max_size": 16, "factor": 16}, "max_size = 16 holds no side.*expected 17 or more"),
    ],
)
def test_wrong_limits_are_refused(parameters, message):
    bind(**parameters)
    with pytest.raises(UserError, match=message):
        ResizeToRange()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(11, 6, 3), (11, 6)])
def test_image_size_needs_no_stored_one(kind, shape):
    record = encode_example(encoded(np.zeros(shape, np.uint8), kind), kind.lower(), "x", size=(1, 1))
    np.testing.assert_array_equal(image_size(tf.constant(record)), [11, 6])


def test_evaluation_size_is_that_of_the_largest_resized_image(tmp_path):
    """Landscape 30 x 60 becomes 20 x 40, portrait 50 x 40 becomes 25 x 20."""
    pairs = [(np.full([*size, 3], 9, np.uint8), np.full(size, 2, np.uint8)) for size in ((30, 60), (50, 40))]
    info = data_set(tmp_path, *pairs)
    bind(min_size=20)
    assert ResizeToRange().largest_size(info, "val") == (25, 40)
    (batch,) = evaluation_batches(info, "val", 2, padding=Padding(GREY)).as_numpy_iterator()
    assert batch["image"].shape == (2, 33, 49, 3)
    np.testing.assert_array_equal(batch["size"], [[20, 40], [25, 20]])
    with pytest.raises(UserError, match="33x33 is smaller than the largest .* 'val', 25x40 after ResizeToRange"):
        evaluation_batches(info, "val", 2, padding=Padding(GREY), size=(33, 33))


def training_view(info, stream: str, image_label_scope: str = "image", factor: float = 1.0) -> dict[str, np.ndarray]:
    """The only example of "val", whole: nothing random is left but colours."""
    for name, value in {"min_scale": factor, "max_scale": factor, "flip_probability": 0.0}.items():
        gin.bind_parameter(f"Augmentation.{name}", value)
    splits = {"labeled_split": "val", "unlabeled_split": "val", "labeled_batch_size": 1, "unlabeled_batch_size": 1}
    data = TrainingData(info, GREY, seed=0, crop_size=(65, 65), image_label_scope=image_label_scope, **splits)
    batch = next(iter(data.batches({stream: Views(strong=int(stream == "unlabeled"), masks=False)})))
    return {name: value[0].numpy() for name, value in unpacked(batch)[stream].items()}


@pytest.mark.parametrize(("stream", "view"), [("labeled", "image"), ("unlabeled", "weak")])
def test_training_reads_what_evaluation_reads(golden, tmp_path, stream, view):
    info = data_set(tmp_path, (golden["image"], golden["label"][..., 0]))
    bind(min_size=49, max_size=65, factor=16)
    example = training_view(info, stream)
    np.testing.assert_allclose(example[view], golden["eval_resize/image"], rtol=1e-4, atol=ROUNDED)
    np.testing.assert_array_equal(example["label"], golden["eval_resize/label"])


def test_augmentation_comes_after_the_resize(golden, tmp_path):
    """Twice 20 x 28, not 20 x 28 of twice the image."""
    image, label = tf.constant(golden["image"], tf.float32), tf.constant(golden["label"], tf.int32)
    bind(min_size=20)
    example = training_view(data_set(tmp_path, (golden["image"], golden["label"][..., 0])), "labeled", factor=2.0)
    image, label = resize_to_range(image, label, 20)
    expected, expected_label = tf.image.resize(image, (40, 56), antialias=True), np.repeat(np.repeat(label, 2, 0), 2, 1)
    assert example["valid"].sum() == 40 * 56
    np.testing.assert_allclose(example["image"][:40, :56], expected, atol=ROUNDED)
    np.testing.assert_array_equal(example["label"][:40, :56], expected_label)


def test_image_labels_keep_what_the_resize_drops(tmp_path):
    """One pixel of class 3, in no row that 40 -> 4 takes."""
    mask = np.zeros([40, 40], np.uint8)
    mask[1, 1] = 3
    info = data_set(tmp_path, (np.zeros([40, 40, 3], np.uint8), mask), num_classes=5)
    bind(min_size=4)
    example = training_view(info, "unlabeled")
    assert 3 not in example["label"]
    np.testing.assert_array_equal(example["image_label"], [0, 0, 1, 0])
    np.testing.assert_array_equal(training_view(info, "unlabeled", "crop")["image_label"], [0, 0, 0, 0])


@pytest.mark.parametrize("factor", [0.5, 0.75, 0.9, 1.0, 1.25, 1.37, 1.5, 2.0])
@pytest.mark.parametrize("shape", [(60, 80), (37, 53), (1, 7)])
def test_a_crop_equals_that_of_the_whole(factor, shape):
    """The oracle resizes all of the image, as TensorFlow's own function does."""
    image = np.random.default_rng(0).integers(0, 256, [*shape, 3], np.uint8)
    size = np.maximum((np.array(shape) * factor).astype(np.int32), 1)
    whole = tf.image.resize(image, size, antialias=True)
    for offset, extent in (([0, 0], size), (size // 2, (size + 1) // 2), (size // 3, np.maximum(size // 4, 1))):
        window = tuple(slice(o, o + e) for o, e in zip(offset, extent, strict=True))
        where = {"offset": tf.constant(offset), "extent": tf.constant(extent)}
        actual = resize_crop(tf.constant(image), tf.constant(size), **where)
        np.testing.assert_allclose(actual, whole[window], atol=2e-3)


def test_nearest_sources_by_hand():
    """Centres of 6 pixels over 4 lie at 0.33, 1, 1.67 ...; with aligned corners, steps are of 3 / 5."""
    assert nearest_sources(4, 6).numpy().tolist() == [0, 1, 1, 2, 3, 3]
    assert nearest_sources(4, 6, align_corners=True).numpy().tolist() == [0, 1, 1, 2, 2, 3]
    assert nearest_sources(4, 2).numpy().tolist() == [1, 3]


@pytest.mark.parametrize(
    ("length", "resized", "offset", "extent", "expected"),
    [
        (10, 20, 8, 4, (6, 14)),  # source pixels 4 and 5, and one more on each side
        (10, 20, 7, 4, (4, 14)),  # begins within pixel 3; only whole ones are taken
        (10, 20, 0, 20, (0, 20)),
        (4, 6, 3, 1, (0, 6)),  # edges meet at 0, 3 and 6
        (40, 60, 30, 3, (27, 36)),
        (7, 9, 4, 1, (0, 9)),  # edges meet nowhere
    ],
)
def test_aligned_range_by_hand(length, resized, offset, extent, expected):
    length, resized, offset, extent = (tf.constant([value, value]) for value in (length, resized, offset, extent))
    actual = aligned_range(length, resized, offset=offset, extent=extent)
    np.testing.assert_array_equal(actual, np.transpose([expected, expected]))
