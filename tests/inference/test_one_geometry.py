"""Evaluation, pictures of a split, pictures of photos and pseudo labels see a photo at one size, that of training."""

import numpy as np
import pytest
import tensorflow as tf
from networks import pseudoseg_network
from PIL import Image

from wss.config import gin
from wss.conversion.encode import LabelMap
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.masks import lookup_table, voc_colors
from wss.data.padding import Padding
from wss.data.resize import ResizeToRange
from wss.evaluation.evaluation import Evaluation
from wss.inference.photo_predictor import Labeling, PhotoPredictor
from wss.inference.photos import FolderExamples, Photo, SplitExamples
from wss.inference.prediction import label_at_size
from wss.methods.supervised import Supervised
from wss.visualization.panels import predictions_of, visualize

GREY = (127.5, 127.5, 127.5)
OWN_SIZE, SEEN_SIZE = (300, 420), (60, 84)
CLASSES = ("background", "left", "right")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with one photo in coarse patches, five times as large as the network sees it."""
    folder = tmp_path_factory.mktemp("photos")
    patches = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(patches).resize(OWN_SIZE[::-1], Image.Resampling.BICUBIC).save(folder / "a.png")
    return folder


@pytest.fixture(scope="module")
def info(photos, tmp_path_factory):
    mask = np.ones(OWN_SIZE, np.uint8)
    mask[:, 200:] = 2
    sources = [Source("a", photos / "a.png", mask)]
    labels = LabelMap(lookup_table(len(CLASSES)))
    folder = tmp_path_factory.mktemp("data") / "one"
    return write_dataset(
        folder, "one", {"val": sources}, class_names=CLASSES, colors=voc_colors(len(CLASSES)), labels=labels
    )[0]


@pytest.fixture(scope="module")
def model(info):
    tf.keras.utils.set_random_seed(0)
    model = pseudoseg_network(info, backbone="mobilenet_v2", depth_multiplier=0.25)
    last = model.segmentation_head.layers[-1].kernel
    last.assign(1e7 * last)  # untrained, all classes are equally probable but for rounding
    return model


@pytest.fixture(autouse=True)
def resized():
    gin.parse_config("ResizeToRange.min_size = 60")


def masks_of(info, model, examples, folder):
    """The classes of the one mask that wss-vis writes."""
    visualize(model, Supervised(), info, examples=examples, output=folder)
    return np.asarray(Image.open(folder / "masks" / "a.png"))


def test_all_commands_agree_on_a_photo(info, model, photos, tmp_path):
    assert ResizeToRange().size_of(OWN_SIZE) == SEEN_SIZE
    of_photo = masks_of(info, model, FolderExamples(str(photos), 1025, Padding(GREY)), tmp_path / "photo")
    of_split = masks_of(info, model, SplitExamples(info, "val", Padding(GREY)), tmp_path / "split")
    assert of_photo.shape == OWN_SIZE and len(np.unique(of_photo)) > 1
    np.testing.assert_array_equal(of_photo, of_split)

    seen = predictions_of(model, SplitExamples(info, "val", Padding(GREY)))["a"]
    assert seen.shape == SEEN_SIZE
    strategy = tf.distribute.get_strategy()
    result = Evaluation(split="val", batch_size=1).open(model, info, strategy)()
    assert result.confusion.sum() == seen.size
    np.testing.assert_array_equal(result.confusion.sum(axis=0), np.bincount(seen.ravel(), minlength=3))

    predictor = PhotoPredictor(model, strategy, settings=Labeling(flip=False), padding=Padding(GREY), sizes={OWN_SIZE})
    photo = Photo("a", np.asarray(Image.open(photos / "a.png")))
    (labeled,) = predictor.map(lambda _, logits: logits.argmax(axis=-1), [photo])
    assert labeled.shape == OWN_SIZE
    assert np.mean(labeled == of_photo) > 0.9  # its reference scales by the middles of pixels


def test_at_its_own_size_the_photo_is_seen_otherwise(info, model, photos, tmp_path):
    """What wss-vis did before: without the resize of training the same network sees another picture."""
    of_photo = masks_of(info, model, FolderExamples(str(photos), 1025, Padding(GREY)), tmp_path / "photo")
    gin.clear_config()
    left_out = masks_of(info, model, FolderExamples(str(photos), 1025, Padding(GREY)), tmp_path / "own")
    assert np.mean(of_photo != left_out) > 0.1


def test_a_photo_without_a_resize_is_reduced_and_its_mask_is_not(info, model, photos, tmp_path):
    gin.clear_config()
    mask = masks_of(info, model, FolderExamples(str(photos), 100, Padding(GREY)), tmp_path)
    assert mask.shape == OWN_SIZE
    assert Image.open(tmp_path / "overlays" / "a.png").size == (100, 71)


@pytest.mark.parametrize("size", [(8, 12), (4, 6), (2, 3), (5, 7), (1, 1)])
def test_a_label_at_another_size(size):
    label = np.array([[3, 3, 0], [3, 0, 0], [7, 7, 7], [7, 7, 7]], np.uint8)
    resized = label_at_size(label, size)
    assert resized.shape == size and resized.dtype == np.uint8 and set(np.unique(resized)) <= {0, 3, 7}
    if size == (8, 12):
        assert resized[0, 0] == 3 and resized[0, -1] == 0 and (resized[-2:] == 7).all()


def test_a_label_at_its_size_is_itself():
    label = np.random.default_rng(0).integers(0, 256, (9, 5), np.uint8)
    np.testing.assert_array_equal(label_at_size(label, (9, 5)), label)
