"""The fully connected CRF against its definition, against pydensecrf, and by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wss.errors import UserError
from wss.ops.crf_kernels import ExactKernel, SeparableGaussian, place_features
from wss.ops.dense_crf import CRFSettings, dense_crf

PYDENSECRF = Path(__file__).parents[1] / "goldens/pydensecrf/two_images.npz"
ALONE = CRFSettings(bilateral_weight=0, gaussian_weight=0)
EXACT_AND_FAST = pytest.mark.parametrize("exact", [True, False])


def example(height=24, width=30, classes=3, seed=0):
    """Noisy probabilities of vertical stripes, and a photo of them: [H, W, C] and [H, W, 3]."""
    random = np.random.default_rng(seed)
    label = np.arange(width) * classes // width
    logits = 2.0 * np.eye(classes)[label] + random.normal(size=(height, width, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    colours = random.integers(0, 256, (classes, 3))[label] + 3 * random.normal(size=(height, width, 3))
    return probabilities.astype(np.float32), np.clip(colours, 0, 255).astype(np.uint8)


def noisy_masks(mask, seed):
    """What a network might say of a mask: its edges are off by some pixels, and patches of it are wrong. [H, W, 4]."""
    random = np.random.default_rng(seed)
    known = np.where(mask == 255, 0, mask)
    classes = sorted({0, *np.unique(known)})[:4]
    one_hot = [(known == number) for number in (classes + [-1, -1, -1])[:4]]
    logits = [4 * smoothed(np.roll(of_class, (3, -2), (0, 1)), 4) for of_class in one_hot]
    logits = [of_class + 1.2 * smoothed(random.normal(size=mask.shape), 6, unit=True) for of_class in logits]
    logits = np.stack(logits, -1) + 0.4 * random.normal(size=(*mask.shape, 4))
    return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)


def smoothed(values, std, unit=False):
    kernel = np.exp(-0.5 * np.square(np.arange(-3 * std, 3 * std + 1) / std))
    for axis in (0, 1):
        values = np.apply_along_axis(lambda line: np.convolve(line, kernel / kernel.sum(), "same"), axis, values)
    return values / values.std() if unit else values


def agreement(first, second):
    return (first.argmax(-1) == second.argmax(-1)).mean()


def by_definition(probabilities, image, settings):
    """The mean field, written as in the paper: all pairs of pixels in one matrix."""
    height, width, classes = probabilities.shape
    y, x = np.indices((height, width)).reshape(2, -1, 1)
    colour = image.reshape(-1, 3).astype(np.float64)
    near = np.square(x - x.T) + np.square(y - y.T)
    alike = np.square(colour[:, None] - colour).sum(-1)
    unary = -np.log(np.clip(probabilities.reshape(-1, classes).astype(np.float64), settings.smallest_probability, 1))
    total = np.zeros(near.shape)
    for weight, distance in (
        (settings.gaussian_weight, near / settings.gaussian_xy_std**2),
        (settings.bilateral_weight, near / settings.bilateral_xy_std**2 + alike / settings.bilateral_rgb_std**2),
    ):
        kernel = np.exp(-distance / 2)
        sums = kernel.sum(1) + 1e-20
        total += weight * kernel / np.sqrt(sums[:, None] * sums)
    field = np.exp(-unary) / np.exp(-unary).sum(-1, keepdims=True)
    for _ in range(settings.iterations):
        energy = np.exp(total @ field - unary)
        field = energy / energy.sum(-1, keepdims=True)
    return field.reshape(probabilities.shape)


@pytest.mark.parametrize("settings", [CRFSettings(), CRFSettings(10, 8, 13, 2, 1.5, 4), CRFSettings(iterations=1)])
def test_exact_kernels_are_the_definition(settings):
    probabilities, image = example()
    result = dense_crf(probabilities, image, settings, exact=True)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, by_definition(probabilities, image, settings), atol=2e-6)


@pytest.mark.parametrize("settings", [CRFSettings(), CRFSettings(10, 40, 13, 2, 1.5, 4)])
def test_lattice_is_near_the_definition(settings):
    probabilities, image = example(40, 50)
    expected = by_definition(probabilities, image, settings)
    assert agreement(probabilities, expected) < 0.9  # so there was something to do
    assert agreement(dense_crf(probabilities, image, settings), expected) > 0.998


def test_lattice_agrees_with_exact_kernels_on_photos(shared):
    """Measured on nine: 0.9929 and more, 0.9979 in the mean; filled 0.9976 and 0.9988.

    pydensecrf, whose lattice the first is, agrees with the exact kernels no better.
    """
    root = shared / "data/voc_animals"
    names = sorted(file.stem for file in (root / "SegmentationClass").glob("*.png"))[::400]
    agreements = []
    for seed, name in enumerate(names):
        image = np.asarray(Image.open(root / f"JPEGImages/{name}.jpg").convert("RGB"))
        probabilities = noisy_masks(np.asarray(Image.open(root / f"SegmentationClass/{name}.png")), seed)
        crop = tuple(slice((side - 64) // 2, (side + 64) // 2) for side in image.shape[:2])
        exact = dense_crf(probabilities[crop], image[crop], exact=True)
        results = [
            dense_crf(probabilities[crop], image[crop], CRFSettings(fill_lattice=fill)) for fill in (False, True)
        ]
        agreements.append([agreement(result, exact) for result in results])
    sparse, filled = np.transpose(agreements)
    assert len(agreements) >= 8
    assert sparse.mean() > 0.995 and sparse.min() > 0.98
    assert filled.mean() > 0.998 and filled.min() > 0.995


@pytest.mark.parametrize("number", [0, 1])
def test_pydensecrf(number):
    """The golden holds what pydensecrf2 1.1 (PyPI, Cython 3, NumPy 2.4) made of two drawn images of discs and boxes.

    `image_*` has their colours with noise of 4 and 10 grey values. `probabilities_*`, float16, are the softmax of 3 times
    the smoothed, shifted masks and normal noise of 0.9. With these as p [H, W, C] and `settings_*` as s and T:

        crf = pydensecrf.densecrf.DenseCRF2D(W, H, C)
        crf.setUnaryEnergy(-log(clip(float32(p), 1e-5, 1)).reshape(-1, C).T)  # C-contiguous
        crf.addPairwiseGaussian(sxy=s[4], compat=s[3])
        crf.addPairwiseBilateral(sxy=s[1], srgb=s[2], rgbim=image, compat=s[0])
        field = np.array(crf.inference(T)).reshape(C, H, W).transpose(1, 2, 0)

    Its Gaussian in x and y is a lattice too, here it is exact; so some pixels between two classes differ.
    Measured: 0.9996 and 1.0 of the labels, 3e-4 and 4e-6 in the mean.
    """
    with np.load(PYDENSECRF) as golden:
        image, probabilities, expected, settings = (
            golden[f"{name}_{number}"] for name in ("image", "probabilities", "field", "settings")
        )
    result = dense_crf(probabilities, image, CRFSettings(*settings[:5], iterations=int(settings[5])))
    assert agreement(probabilities, expected) < 0.9
    assert agreement(result, expected) > 0.998
    assert np.abs(result - expected).mean() < 2e-3


def test_two_wrong_pixels_are_repaired():
    label = np.zeros((8, 8), int)
    label[:, 4:] = 1
    image = np.array([[200, 40, 40], [30, 60, 180]], np.uint8)[label]
    probabilities = np.where(np.eye(2)[label] > 0, 0.7, 0.3)
    probabilities[2, 1], probabilities[5, 6] = probabilities[2, 1, ::-1].copy(), probabilities[5, 6, ::-1].copy()
    field = dense_crf(probabilities, image, exact=True)
    right = np.take_along_axis(field, label[..., None], -1)[..., 0]
    assert right[2, 1] >= 0.989 and right[5, 6] >= 0.989
    assert (2 * right - 1).min() > 0.97
    assert agreement(dense_crf(probabilities, image), field) == 1


@EXACT_AND_FAST
def test_without_weights_the_probabilities_stay(exact):
    probabilities, image = example()
    probabilities[0, 0] = [0, 1, 0]
    clipped = np.clip(probabilities, 1e-5, 1)
    result = dense_crf(probabilities, image, ALONE, exact=exact)
    np.testing.assert_allclose(result, clipped / clipped.sum(-1, keepdims=True), rtol=1e-5)
    kept = dense_crf(probabilities, image, dataclasses.replace(ALONE, gaussian_weight=3, iterations=0), exact=exact)
    np.testing.assert_array_equal(kept, result)


@EXACT_AND_FAST
def test_uniform_probabilities_stay(exact):
    _, image = example()
    result = dense_crf(np.full((24, 30, 4), 0.25), image, exact=exact)
    np.testing.assert_allclose(result, 0.25, atol=1e-6)


@EXACT_AND_FAST
def test_classes_have_no_order(exact):
    probabilities, image = example(classes=4)
    order = [2, 0, 3, 1]
    result = dense_crf(probabilities, image, exact=exact)
    permuted = dense_crf(probabilities[..., order], image, exact=exact)
    np.testing.assert_allclose(permuted, result[..., order], atol=1e-5)


@EXACT_AND_FAST
def test_transposed_image(exact):
    """Rows and columns mean the same to the kernels; the cells of the lattice lie otherwise."""
    probabilities, image = example()
    result = dense_crf(probabilities, image, exact=exact)
    turned = dense_crf(probabilities.swapaxes(0, 1), image.swapaxes(0, 1), exact=exact).swapaxes(0, 1)
    assert agreement(turned, result) > (0.9999 if exact else 0.995)


def test_same_bits_again_and_arguments_unchanged():
    probabilities, image = example()
    before = probabilities.copy(), image.copy()
    np.testing.assert_array_equal(dense_crf(probabilities, image), dense_crf(probabilities, image))
    np.testing.assert_array_equal(probabilities, before[0])
    np.testing.assert_array_equal(image, before[1])


def test_few_classes_at_a_time(monkeypatch):
    """What bounds the memory does not change the result."""
    probabilities, image = example(classes=5)
    expected = dense_crf(probabilities, image)
    monkeypatch.setattr("wss.ops.crf_kernels._LARGEST_BLUR", 1)
    np.testing.assert_allclose(dense_crf(probabilities, image), expected, atol=1e-6)


@EXACT_AND_FAST
@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 40, 3), (40, 1, 3), (6, 5, 1), (3, 4, 30)])
def test_odd_shapes(shape, exact):
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (*shape[:2], 3), np.uint8)
    result = dense_crf(random.uniform(size=shape), image, exact=exact)
    assert result.shape == shape and np.isfinite(result).all()
    np.testing.assert_allclose(result.sum(-1), 1, atol=1e-5)


@EXACT_AND_FAST
def test_image_of_one_colour(exact):
    """The kernels are nearness alone: a wrong patch of the majority's pixels goes."""
    probabilities = np.full((20, 30, 2), [0.8, 0.2])
    probabilities[8:10, 10:12] = [0.2, 0.8]
    image = np.full((20, 30, 3), 255, np.uint8)
    assert (dense_crf(probabilities, image, exact=exact).argmax(-1) == 0).all()


@pytest.mark.parametrize("std", [0.1, 3, 10_000])
def test_huge_contrast_and_extreme_deviations(std):
    random = np.random.default_rng(4)
    probabilities = random.dirichlet([1, 1, 1], (30, 40))
    image = random.choice(np.array([0, 255], np.uint8), (30, 40, 3))
    settings = CRFSettings(4, std, std, 3, std)
    result = dense_crf(probabilities, image, settings)
    assert np.isfinite(result).all()
    # Noise is what a lattice is worst at: pixels of one colour are far apart, with few corners between them.
    exact = dense_crf(probabilities, image, settings, exact=True)
    assert agreement(result, exact) > (0.97 if std == 3 else 0.99)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats(dtype):
    probabilities, image = example()
    probabilities = probabilities.astype(dtype)
    expected = dense_crf(probabilities.astype(np.float32), image)
    np.testing.assert_array_equal(dense_crf(probabilities, image), expected)


@pytest.mark.parametrize("size, std", [((30, 20), 3), ((90, 70), 4), ((1, 70), 12), ((5, 3), 0.1)])
def test_separable_gaussian(size, std):
    field = np.random.default_rng(5).uniform(size=(2, *size)).astype(np.float32)
    exact, separable = np.zeros_like(field), np.zeros_like(field)
    ExactKernel(place_features(size, std), weight=2)(field, exact)
    SeparableGaussian(size, std, weight=2)(field, separable)
    np.testing.assert_allclose(separable, exact, atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p, i: (p[0], i), r"probabilities: float32 of shape \(30, 3\), expected floats \[H, W, C\]"),
        (lambda p, i: (p.astype(int), i), r"probabilities: int64 of shape \(24, 30, 3\), expected floats"),
        (lambda p, i: (p[:0], i[:0]), r"probabilities: float32 of shape \(0, 30, 3\), expected floats"),
        (lambda p, i: (p[..., :0], i), r"probabilities: float32 of shape \(24, 30, 0\), expected floats"),
        (lambda p, i: (p - 1, i), "probabilities: values from -.* to .*, expected finite numbers, 0 or more"),
        (lambda p, i: (np.where(p > 0.9, np.nan, p), i), "probabilities: values from nan to nan, expected finite"),
        (lambda p, i: (np.where(p > 0.9, np.inf, p), i), "probabilities: values from .* to inf, expected finite"),
        (lambda p, i: (p, i[1:]), r"image: uint8 of shape \(23, 30, 3\), expected uint8 \[24, 30, 3\]"),
        (lambda p, i: (p, i[..., :1]), r"image: uint8 of shape \(24, 30, 1\), expected uint8 \[24, 30, 3\]"),
        (lambda p, i: (p, i[..., 0]), r"image: uint8 of shape \(24, 30\), expected uint8 \[24, 30, 3\]"),
        (lambda p, i: (p, i / 255), r"image: float64 of shape \(24, 30, 3\), expected uint8 \[24, 30, 3\]"),
    ],
)
def test_wrong_arrays(change, message):
    with pytest.raises(UserError, match=message) as error:
        dense_crf(*change(*example()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "parameter, value",
    [("bilateral_xy_std", 0), ("bilateral_weight", -1), ("iterations", 2.5), ("smallest_probability", 0)],
)
def test_wrong_settings(parameter, value):
    with pytest.raises(UserError, match=f"CRFSettings.{parameter} = {value}, expected"):
        CRFSettings(**{parameter: value})
