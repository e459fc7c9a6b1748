"""Evaluation at original size: the same images and pixels as with padding, nothing twice, one device and two."""

import absl.flags
import numpy as np
import pytest
import tensorflow as tf
from networks import tiny_model
from PIL import Image
from scripts import load_module, separate_flags

from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import original_size_batches
from wss.data.padding import Padding
from wss.errors import UserError
from wss.evaluation.evaluation import Evaluation
from wss.inference.prediction import predict, scaled_size
from wss.ops.resizing import resize_bilinear
from wss.project import PROJECT_ROOT

SPLIT = "train"
SIZES = [(40, 50), (33, 47), (40, 50), (50, 40), (40, 50), (40, 50), (33, 47), (64, 20), (40, 50)]


@pytest.fixture
def records(tmp_path):
    """A data set of few sizes, some of them more often."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number, size in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / f"images/{number}.png")
        mask = rng.integers(0, 4, size).astype(np.uint8)
        mask[:3] = 255
        Image.fromarray(mask).save(tmp_path / f"masks/{number}.png")
    flags = [f"--images={tmp_path}/images", f"--masks={tmp_path}/masks", "--class_names=background,one,two,three"]
    with separate_flags():
        script = load_module(PROJECT_ROOT / "datasets/build_folder.py")
        absl.flags.FLAGS(["build_folder", *flags, "--val_fraction=0", f"--output_dir={tmp_path}/out"])
        script.main([])
    return tmp_path / "out"


@pytest.mark.parametrize(("batch_size", "multiple"), [(1, 1), (2, 1), (4, 2), (8, 4)])
def test_batches_have_one_size_and_every_image_once(records, batch_size, multiple):
    info = DatasetInfo.load(records)
    seen = []
    for batch in original_size_batches(info, SPLIT, batch_size, multiple=multiple, together=100):
        number = batch["image"].shape[0]
        assert number % multiple == 0 and number <= max(batch_size, multiple)
        for image, label, size in zip(batch["image"], batch["label"], batch["size"], strict=True):
            if size[0] == 0:
                assert np.all(label == 255)
                continue
            assert tuple(size) == image.shape[:2] == label.shape[:2]
            seen.append(tuple(size.numpy()))
    assert sorted(seen) == sorted(SIZES)


def test_few_images_are_held(records):
    batches = list(original_size_batches(DatasetInfo.load(records), SPLIT, 8, together=2))
    assert max(batch["image"].shape[0] for batch in batches) <= 2
    assert sum(batch["image"].shape[0] for batch in batches) == len(SIZES)


def confusion_by_hand(model, info) -> np.ndarray:
    """That of images one by one, at their own sizes."""
    confusion = np.zeros([4, 4], np.int64)
    for batch in original_size_batches(info, SPLIT, 1):
        prediction = np.argmax(predict(model, batch["image"]), -1)[0]
        label = batch["label"].numpy()[0, ..., 0]
        np.add.at(confusion, (label[label != 255], prediction[label != 255]), 1)
    return confusion


@pytest.mark.parametrize("options", [{}, {"scales": (0.75, 1.0), "flip": True}])
def test_it_counts_what_single_images_give(records, options, two_replicas):
    info = DatasetInfo.load(records)
    with two_replicas.scope():
        model = tiny_model()
    expected = confusion_by_hand(model, info) if not options else None
    evaluation = Evaluation(split=SPLIT, original_size=True, batch_size=4, **options)
    of_one, of_two = (
        evaluation.open(model, info, strategy)() for strategy in (tf.distribute.get_strategy(), two_replicas)
    )
    np.testing.assert_array_equal(of_one.confusion, of_two.confusion)
    assert of_one.num_images == of_two.num_images == len(SIZES)
    if expected is not None:
        np.testing.assert_array_equal(of_one.confusion, expected)


def test_windows_at_original_size(records):
    info = DatasetInfo.load(records)
    model = tiny_model()
    evaluation = Evaluation(split=SPLIT, original_size=True, batch_size=4, window=(33, 33))
    result = evaluation.open(model, info, tf.distribute.get_strategy())()
    assert result.num_images == len(SIZES) and result.confusion.sum() == sum((h - 3) * w for h, w in SIZES)


class Patches:
    """A network that takes multiples of 14 alone, and says which it has seen."""

    num_classes, padding = 3, Padding((1.0, 2.0, 3.0), 14, 0, strict=True)

    def __init__(self):
        self.seen = []

    def __call__(self, images, training=False):
        self.seen.append(tuple(images.shape[1:3]))
        return images[:, ::2, ::2]


def test_images_are_resized_to_the_nearest_multiples_and_logits_back():
    """UniMatch V2: 375 x 500 is seen at 378 x 504, both ways bilinear with aligned corners."""
    network = Patches()
    images = tf.random.stateless_uniform([1, 375, 500, 3], [1, 2])
    probabilities = predict(network, images)
    assert network.seen == [(378, 504)]
    seen = tf.raw_ops.ResizeBilinear(images=images, size=[378, 504], align_corners=True)[:, ::2, ::2]
    logits = resize_bilinear(resize_bilinear(seen, (378, 504)), (375, 500))
    np.testing.assert_allclose(probabilities, tf.nn.softmax(logits), atol=1e-6)
    unknown = tf.function(lambda x: predict(network, x), input_signature=[tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(unknown(images), probabilities, atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.25])
def test_scaled_sizes_are_the_same_where_they_are_not_known(scale):
    for size in [(33, 47), (375, 500), (1, 2)]:
        unknown = [int(side) for side in scaled_size([tf.constant(side) for side in size], scale)]
        assert unknown == list(scaled_size(size, scale))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (33, 33)}, r"Evaluation.window = \(33, 33\): .* multiples of its patch of 14; .* \(28, 28\)"),
        ({"size": (65, 70)}, r"Evaluation.size = \(65, 70\): .* expected such as \(70, 70\)"),
    ],
)
def test_sizes_that_a_vit_does_not_take(options, message, tiny_shapes):
    model = tiny_model()
    model.padding = Patches.padding
    info = DatasetInfo.load(tiny_shapes)
    with pytest.raises(UserError, match=message):
        Evaluation(batch_size=2, **options).open(model, info, tf.distribute.get_strategy())


def test_a_size_and_the_original_one_are_refused_together():
    with pytest.raises(UserError, match="expected no size with original_size = True"):
        Evaluation(split=SPLIT, original_size=True, size=(65, 65))
