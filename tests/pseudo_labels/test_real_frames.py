"""Thresholds and random subsets on real street scenes (CamVid, Brostow et al. 2009): the histogram against sorting."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.inference.photo_predictor import Labeling, PhotoPredictor
from wss.inference.photos import Photo
from wss.methods.dars.class_quotas import distribution, quotas
from wss.methods.dars.confidence import histogram, of_logits
from wss.methods.dars.exact_sampling import HashLimits, count, image_key, label, merge
from wss.methods.dars.policies import select
from wss.models.deeplab import build_model
from wss.models.weights.initial_weights import load_initial_weights

NUM_CLASSES, NUM_FRAMES = 11, 12
SIZE = (96, 128)


@pytest.fixture(scope="module")
def frames(shared) -> list[Photo]:
    """Every 30th frame at a smaller size, with its mask; 11 is unlabelled."""
    folder = shared / "data/camvid"
    paths = sorted((folder / "images").glob("*.jpg"))[::30][:NUM_FRAMES]
    small = lambda path, method: np.asarray(Image.open(path).resize(SIZE[::-1], method))
    return [
        Photo(
            path.stem,
            small(path, Image.Resampling.BILINEAR),
            small(folder / "labels" / f"{path.stem}.png", Image.Resampling.NEAREST).astype(np.int32),
        )
        for path in paths
    ]


@pytest.fixture(scope="module")
def predicted(shared, frames) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a network with ImageNet's backbone and a random head says: id -> class and confidence."""
    info = DatasetInfo("camvid", tuple("abcdefghijk"), ((0, 0, 0),) * NUM_CLASSES, {}, has_background=False)
    keras.utils.set_random_seed(0)
    model = build_model(info, backbone="mobilenet_v2")
    load_initial_weights(model, str(shared / "data/weights/mobilenet_v2_1.0_imagenet.npz"))
    last = model.segmentation_head.layers[-1].kernel
    last.assign(last * (2 / tf.math.reduce_std(model(frames[0].image[None].astype(np.float32), training=False))))
    settings = Labeling(window=(65, 97))
    predictor = PhotoPredictor(
        model, tf.distribute.get_strategy(), padding=model.padding, settings=settings, sizes=set()
    )
    return dict(predictor.map(lambda photo, logits: (photo.name, of_logits(logits)), frames))


@pytest.fixture(scope="module")
def pixels(predicted) -> tuple[np.ndarray, np.ndarray]:
    """Class and confidence of all pixels."""
    prediction, confidence = (
        np.concatenate([array.ravel() for array in kind]) for kind in zip(*predicted.values(), strict=True)
    )
    assert len(prediction) == NUM_FRAMES * SIZE[0] * SIZE[1]
    assert (np.bincount(prediction, minlength=NUM_CLASSES) > 0).sum() >= 5 and len(np.unique(confidence)) > 500
    return prediction, confidence


@pytest.fixture(scope="module")
def target(frames) -> np.ndarray:
    labels = np.concatenate([frame.label.ravel() for frame in frames])
    return distribution(np.bincount(labels[labels < NUM_CLASSES], minlength=NUM_CLASSES))


def naive_thresholds(policy: str, pixels, target: np.ndarray, alpha: float) -> list[float]:
    """By sorting; NaN where nothing is kept."""
    prediction, confidence = pixels
    if policy == "threshold":
        return [np.sort(confidence)[::-1][round(alpha * len(confidence)) - 1]] * NUM_CLASSES
    of_class = [np.sort(confidence[prediction == j]) for j in range(NUM_CLASSES)]
    if policy == "cbst":
        return [u[-int(len(u) * alpha) - 1] if len(u) else np.nan for u in of_class]
    wanted = np.minimum(quotas(alpha, target, len(confidence)), [len(u) for u in of_class])
    return [u[-n] if n else np.nan for n, u in zip(wanted, of_class, strict=True)]


@pytest.mark.parametrize("alpha", [0.2, 0.5])
@pytest.mark.parametrize("policy", ["dars", "da", "cbst", "threshold"])
def test_thresholds_are_those_of_sorting(predicted, pixels, target, policy, alpha):
    histograms = sum(histogram(*image, NUM_CLASSES) for image in predicted.values())
    selection = select(policy, histograms, alpha=alpha, distribution=target)
    prediction, confidence = pixels
    expected = naive_thresholds(policy, pixels, target, alpha)
    reached = [np.sum(confidence[prediction == j] >= t) for j, t in enumerate(expected)]
    np.testing.assert_array_equal(selection.candidates, reached)
    # A class that keeps nothing has no threshold.
    expected = np.where(np.array(reached) > 0, expected, np.nan)
    np.testing.assert_array_equal(selection.thresholds, expected.astype(np.float16))


@pytest.mark.parametrize("sample", ["candidates", "ties"])
def test_quotas_are_met_to_the_pixel(predicted, pixels, target, sample):
    histograms = sum(histogram(*image, NUM_CLASSES) for image in predicted.values())
    selection = select("dars", histograms, alpha=0.4, distribution=target, sample=sample)
    assert (selection.kept < selection.candidates).any()  # ties, so some are left to chance
    limits = HashLimits.start(selection)
    keyed = [(*image, image_key(0, name)) for name, image in predicted.items()]
    while not limits.finished:
        limits = limits.refine(merge(count(*image, selection=selection, limits=limits) for image in keyed))
    labels = [label(*image, selection=selection, limits=limits) for image in keyed]
    counts = sum(np.bincount(each.ravel(), minlength=256) for each in labels)
    available = np.bincount(pixels[0], minlength=NUM_CLASSES)
    expected = np.minimum(quotas(0.4, target, len(pixels[0])), available)
    np.testing.assert_array_equal(counts[:NUM_CLASSES], expected)
    assert counts[255] == len(pixels[0]) - expected.sum()
