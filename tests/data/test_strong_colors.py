"""The colours of UniMatch's strong views against Pillow, which the original uses, and how often each of them happens."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageFilter

from wss.data.augment import Augmentation
from wss.data.color_jitter import COLOR_OPS, gaussian_blur, grey, multiplicative_jitter
from wss.errors import UserError

UNIMATCH = {
    "scale_step": 0,
    "jitter_kind": "multiplicative",
    "jitter_probability": 0.8,
    "jitter_scope": "view",
    "grey_probability": 0.2,
    "strong_blur_probability": 0.5,
    "cutout_half_side": 0,
    "padding": "black",
}
MEAN = (127.5, 127.5, 127.5)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A picture with edges, smooth parts, black and white."""
    y, x = np.mgrid[:60, :50]
    waves = np.stack([np.sin(x / 7), np.cos(y / 5), np.sin((x + y) / 9)], -1)
    image = np.clip(128 + 150 * waves, 0, 255)
    image[20:40, 10:30] = (250, 40, 10)
    return image.astype(np.uint8)


def jittered(photo, operation: str, value: float, **options) -> np.ndarray:
    draws = [1.0, 1.0, 1.0, 0.0]
    draws[COLOR_OPS.index(operation)] = value
    order = tf.constant([COLOR_OPS.index(operation)])
    return multiplicative_jitter(tf.constant(photo, tf.float32), draws, order, **options).numpy()


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.5])
@pytest.mark.parametrize(
    ("operation", "enhancer"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_blends_are_pillows(photo, operation, enhancer, factor):
    expected = np.asarray(enhancer(Image.fromarray(photo)).enhance(factor), np.float32)
    # Pillow cuts to integers; it rounds the mean grey and each pixel's.
    np.testing.assert_allclose(jittered(photo, operation, factor), expected, atol=1.6)
    np.testing.assert_allclose(jittered(photo, operation, factor, rounded=True), expected, atol=1.0)


@pytest.mark.parametrize("shift", [-0.25, 0.1, 0.25])
def test_hue_turns_as_torchvision_turns_it(photo, shift):
    turned = jittered(photo, "hue", shift)
    exact = [colorsys.rgb_to_hsv(*pixel) for pixel in photo.reshape(-1, 3) / 255]
    expected = [colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value) for hue, saturation, value in exact]
    np.testing.assert_allclose(turned.reshape(-1, 3), 255 * np.array(expected), atol=0.01)
    hue, saturation, value = Image.fromarray(photo).convert("HSV").split()
    stored = (np.asarray(hue).astype(int) + int(shift * 255)) % 256
    bands = [Image.fromarray(stored.astype(np.uint8)), saturation, value]
    # Pillow has 256 hues and saturations.
    assert np.abs(turned - np.asarray(Image.merge("HSV", bands).convert("RGB"), np.float32)).mean() < 3


def test_grey_is_pillows(photo):
    expected = np.asarray(Image.fromarray(photo).convert("L"), np.float32)
    np.testing.assert_allclose(grey(tf.constant(photo, tf.float32))[..., 0], expected, atol=0.51)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("run", [lambda function: function, tf.function])
def test_blur_is_near_pillows_and_a_gaussian(photo, sigma, run):
    blurred = run(lambda: gaussian_blur(tf.constant(photo, tf.float32), tf.constant(sigma), largest=2.0))().numpy()
    # Pillow's is three box filters.
    expected = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(sigma)), np.float32)
    difference = np.abs(blurred - expected)
    assert difference.mean() < 0.7 and difference.max() < 0.06 * 210  # the edges are of 210
    offsets = np.arange(-8, 9)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    padded = np.pad(photo.astype(np.float64), ((8, 8), (8, 8), (0, 0)), "edge")
    for axis in (0, 1):
        padded = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), "valid")
    np.testing.assert_allclose(blurred, padded, atol=1e-2)


def test_each_change_happens_as_often_as_it_should():
    """By what it leaves: no colours after grey, no edges after a blur, the image itself in one of ten."""
    views = Augmentation((16, 16), MEAN, min_scale=1.0, max_scale=1.0, **UNIMATCH)
    image = np.zeros((16, 16, 3), np.float32)
    image[:, 8:] = (200.0, 100.0, 50.0)
    draw = tf.function(lambda seed: views._colors(seed)(tf.constant(image)))
    strong = np.stack([draw(tf.constant([number, 7], tf.int64)) for number in range(1000)])
    near = lambda value, share: abs(value - share) < 4 * np.sqrt(share * (1 - share) / 1000)
    assert near(np.mean(np.ptp(strong, axis=-1).max(axis=(1, 2)) < 1e-2), 0.2)
    smooth = np.abs(strong[:, :, 8] - strong[:, :, 9]).max(axis=(1, 2)) > 1e-2
    assert near(smooth.mean(), 0.5 * 0.83)  # a sigma below 0.4 moves nothing there
    assert near(np.mean([np.allclose(one, image, atol=1e-2) for one in strong]), 0.2 * 0.8 * (0.5 + 0.5 * 0.09))


def test_a_view_is_changed_with_its_black_padding(photo):
    views = Augmentation((70, 70), MEAN, min_scale=1.0, max_scale=1.0, flip_probability=0.0, **UNIMATCH)
    label = tf.zeros([60, 50, 1], tf.int32)
    found = set()
    for number in range(12):
        view = views.weak_and_strong(tf.constant(photo), label, tf.constant([number, 3], tf.int64), strong=2)
        padding = view["not_padding"].numpy()[..., 0] == 0
        assert padding.sum() == 70 * 70 - 60 * 50
        np.testing.assert_array_equal(view["weak"].numpy()[padding], 0)
        np.testing.assert_array_equal(view["label"].numpy()[padding], 255)
        assert np.any(view["strong"] != view["strong_2"])
        found.add(round(float(view["strong"].numpy()[69, 69].max()), 3))
    assert 0 in found and len(found) > 2  # contrast blends the padding too


def test_sigmas_are_in_order():
    with pytest.raises(
        UserError, match=r"Augmentation.strong_blur_sigmas = \(2.0, 0.1\), expected the smaller one first"
    ):
        Augmentation((16, 16), MEAN, strong_blur_sigmas=(2.0, 0.1))


def test_a_second_draw_is_of_the_same_image_by_other_draws(tiny_shapes):
    from wss.data.dataset_info import DatasetInfo
    from wss.data.streams import Views
    from wss.data.training_data import TrainingData

    info = DatasetInfo.load(tiny_shapes)
    data = TrainingData(info, MEAN, seed=0, labeled_split="train", unlabeled_split="train", crop_size=(33, 33))
    plain, again = (
        next(iter(data.batches({"unlabeled": Views(strong=2, again=twice, masks=False)})))["unlabeled"]
        for twice in (False, True)
    )
    for name, value in plain.items():
        np.testing.assert_array_equal(again[name], value)
    for name in ("weak", "strong", "strong_2", "label", "not_padding"):
        assert again[f"again/{name}"].shape == plain[name].shape
    assert np.any(again["again/weak"] != plain["weak"])
