"""What a network says of whole images: by hand with a linear network, and that batches and devices change nothing."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from wss.data.padding import Padding
from wss.data.resize import ResizeToRange
from wss.errors import UserError
from wss.inference import photo_predictor
from wss.inference.photo_predictor import Labeling, PhotoPredictor
from wss.inference.photos import Photo
from wss.inference.prediction import predict

GREY = (100.0, 110.0, 120.0)
KERNEL = tf.constant(np.random.default_rng(0).normal(0, 0.05, [4, 4, 3, 5]), tf.float32)


def linear(images, training=False):
    """Logits [B, h / 4, w / 4, 5], linear in the pixels; the kernel is not symmetric, so mirroring matters."""
    assert training is False
    return tf.nn.conv2d(images - 110.0, KERNEL, strides=4, padding="SAME")


def colors(images, training=False):
    """Logits [B, h, w, 3] are the pixels themselves."""
    return tf.convert_to_tensor(images) / 16


def photo(name: str, height: int, width: int) -> Photo:
    """A smooth random image, as photos are."""
    coarse = np.random.default_rng(len(name) + 7 * height + width).uniform(0, 255, [1, 5, 6, 3])
    return Photo(name, tf.image.resize(coarse, [height, width], "bicubic")[0].numpy().clip(0, 255).astype(np.uint8))


PHOTOS = [
    photo("wide", 30, 52),
    photo("tall", 47, 33),
    photo("small", 9, 14),
    photo("other", 30, 52),
    photo("e", 47, 52),
]
SIZES = {each.image.shape[:2] for each in PHOTOS}


def one_device() -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def predictor_of(model, strategy=None, sizes=SIZES, **settings) -> PhotoPredictor:
    return PhotoPredictor(
        model, strategy or one_device(), settings=Labeling(**settings), padding=Padding(GREY), sizes=sizes
    )


def logits_of(photos=PHOTOS, model=linear, strategy=None, sizes=SIZES, **settings) -> dict[str, np.ndarray]:
    predictor = predictor_of(model, strategy, sizes=sizes, **settings)
    return dict(predictor.map(lambda photo, logits: (photo.name, logits), photos))


def evaluated(image: np.ndarray, flip: bool = False) -> np.ndarray:
    """The argmax of evaluation: padded at the bottom and the right."""
    height, width = Padding(GREY).size(tuple(np.max(list(SIZES), axis=0)))
    padded = np.tile(np.float32(GREY), [1, height, width, 1])
    padded[0, : image.shape[0], : image.shape[1]] = image
    return predict(linear, tf.constant(padded), flip=flip)[0, : image.shape[0], : image.shape[1]].numpy()


def test_whole_images_are_predicted_as_in_evaluation():
    for name, logits in logits_of(flip=False).items():
        (image,) = (each.image for each in PHOTOS if each.name == name)
        assert logits.shape == (*image.shape[:2], 5) and logits.dtype == np.float32
        np.testing.assert_array_equal(logits.argmax(-1), evaluated(image).argmax(-1))


def test_averaged_probabilities_are_those_of_evaluation():
    """Mirrored too, which evaluation does with the whole padded image as well."""
    for name, logs in logits_of(average="probabilities").items():
        (image,) = (each.image for each in PHOTOS if each.name == name)
        np.testing.assert_allclose(np.exp(logs), evaluated(image, flip=True), atol=2e-6)


def test_logits_of_a_network_that_repeats_the_image():
    """However it is cut, mirrored and averaged, the image comes back."""
    for settings in (
        {},
        {"window": (16, 20)},
        {"window": (16, 20), "stride": 1.0, "flip": False, "windows_at_once": 3},
    ):
        found = logits_of(model=colors, **settings)
        assert list(found) == [each.name for each in PHOTOS]
        for each in PHOTOS:
            np.testing.assert_allclose(16 * found[each.name], each.image, atol=1e-3)


def test_logits_or_probabilities_are_averaged_by_hand():
    """One pixel, two classes: logits 4 and 0 in the left half of the window, the opposite in the right one."""

    def by_side(images, training=False):
        side = tf.cast(tf.range(images.shape[2]) < images.shape[2] // 2, tf.float32)
        return tf.tile(tf.stack([4 * side, 4 - 4 * side], -1)[None, None], [images.shape[0], 1, 1, 1])

    one = [Photo("one", np.zeros([1, 4, 3], np.uint8))]
    mean = logits_of(one, by_side, sizes={(1, 4)}, window=(1, 4))["one"]
    np.testing.assert_allclose(mean, np.full([1, 4, 2], 2))  # (4 + 0) / 2
    logs = logits_of(one, by_side, sizes={(1, 4)}, window=(1, 4), average="probabilities")["one"]
    np.testing.assert_allclose(logs, np.full([1, 4, 2], np.log(0.5)), rtol=1e-5)
    plain = logits_of(one, by_side, sizes={(1, 4)}, window=(1, 4), flip=False)["one"]
    np.testing.assert_array_equal(plain[0, :, 0], [4, 4, 0, 0])


def test_base_size_is_the_longer_side_and_scales_are_factors_of_it():
    seen = []

    def looking(images, training=False):
        seen.append(tuple(images.shape[1:3]))
        return images[:, ::4, ::4]

    sizes = {(30, 60), (60, 30)}
    photos = [photo("lying", 30, 60), photo("standing", 60, 30)]
    logits_of(photos, looking, sizes=sizes, base_size=32, flip=False)
    assert seen == [(33, 33)]  # both are 16 x 32, or the like; one window for all, traced once
    seen.clear()
    logits_of(photos, looking, sizes=sizes, base_size=32, scales=(0.5, 2.0), flip=False)
    assert seen == [(17, 17), (65, 65)]


def test_scales_are_averaged():
    settings = {"window": (16, 16), "flip": False}
    one, two, both = (logits_of(scales=scales, **settings) for scales in ((0.5,), (1.5,), (0.5, 1.5)))
    for name in both:
        np.testing.assert_allclose(both[name], (one[name] + two[name]) / 2, atol=1e-5)
        assert np.abs(one[name] - two[name]).max() > 0.1


def test_images_are_resized_as_by_opencv():
    """Four columns become two: (0 + 8) / 2 and (16 + 24) / 2, by the centres of pixels; back to 4 by quarters."""
    image = np.zeros([1, 4, 3], np.uint8)
    image[0, :, 0] = [0, 8, 16, 24]
    seen = []

    def keeping(images, training=False):
        seen.append(images)
        return images

    tf.config.run_functions_eagerly(True)
    try:
        logits = logits_of([Photo("a", image)], keeping, sizes={(1, 4)}, base_size=2, flip=False, window=(1, 2))["a"]
    finally:
        tf.config.run_functions_eagerly(False)
    np.testing.assert_array_equal(seen[0][0, 0, :, 0], [4, 20])
    np.testing.assert_array_equal(logits[0, :, 0], [4, 8, 16, 20])


def test_without_base_size_images_have_the_size_of_training():
    seen = []

    def looking(images, training=False):
        seen.append(tuple(images.shape[1:3]))
        return images

    resize = ResizeToRange(min_size=17, factor=8)
    predictor = PhotoPredictor(
        looking, one_device(), settings=Labeling(flip=False), padding=Padding(GREY), sizes={(34, 60)}, resize=resize
    )
    (logits,) = predictor.map(lambda photo, logits: logits, [photo("a", 34, 60)])
    assert seen == [(17, 33)] and logits.shape == (34, 60, 3)  # 17 x 30, rounded up


@pytest.mark.parametrize("settings", [{}, {"window": (16, 20)}, {"window": (16, 20), "scales": (0.7, 1.0)}])
def test_results_depend_neither_on_batches_nor_on_other_images(settings, two_replicas):
    expected = logits_of(windows_at_once=1, **settings)
    for at_once in (2, 3, 64):
        assert_same(logits_of(windows_at_once=at_once, **settings), expected)
    assert_same(logits_of(PHOTOS[::-1], windows_at_once=3, **settings), expected)
    alone = [logits_of([each], windows_at_once=3, **settings) for each in PHOTOS]
    assert_same(dict(itertools.chain.from_iterable(each.items() for each in alone)), expected)
    assert_same(logits_of(strategy=two_replicas, windows_at_once=3, **settings), expected)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, logits in expected.items():
        np.testing.assert_allclose(found[name], logits, atol=1e-4)


def test_an_error_among_the_photos_comes_through():
    def broken():
        yield PHOTOS[0]
        raise UserError("the second photo is broken")

    with pytest.raises(UserError, match="second photo"):
        logits_of(broken())


def test_an_error_in_the_function_comes_through():
    def broken(photo, logits):
        raise UserError(f"no label for {photo.name}")

    with pytest.raises(UserError, match="no label for wide"):
        list(predictor_of(linear).map(broken, PHOTOS))


@pytest.mark.parametrize("settings", [{}, {"window": (16, 20), "windows_at_once": 3}])
def test_only_a_few_photos_are_taken_ahead(settings):
    """Not of the whole data set: those that are cut, in the network, and averaged."""
    taken = 0

    def photos():
        nonlocal taken
        for number in range(100):
            taken += 1
            yield photo(str(number), 20, 24)

    ahead = []
    predictor = predictor_of(linear, sizes={(20, 24)}, **settings)
    for done, _ in enumerate(predictor.map(lambda photo, logits: photo.name, photos()), 1):
        ahead.append(taken - done)
    assert len(ahead) == 100
    assert max(ahead) <= 2 * photo_predictor.THREADS + 4


def test_no_photos_are_no_results():
    assert logits_of([]) == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"average": "logit"},
            "Labeling.average = 'logit', expected one of logits, probabilities. Did you mean 'logits'",
        ),
        ({"stride": 0}, "Labeling.stride = 0"),
        ({"scales": ()}, r"Labeling.scales = \(\)"),
        ({"scales": (1.0, -1.0)}, "Labeling.scales"),
        ({"window": 361}, r"Labeling.window = 361, expected \(height, width\)"),
        ({"window": (361, 0)}, "Labeling.window"),
        ({"base_size": 0}, "Labeling.base_size = 0, expected an integer from 1 to 8192, or None"),
        ({"windows_at_once": 0}, "Labeling.windows_at_once = 0"),
    ],
)
def test_impossible_settings_are_one_line(settings, expected):
    with pytest.raises(UserError, match=expected):
        Labeling(**settings)
