"""The views against the original's recorded draws, then their properties."""

import numpy as np
import pytest
import tensorflow as tf

from wss.data import augment
from wss.data.color_jitter import color_jitter, random_jitter
from wss.data.crops import blur_crop, crop, nearest_sources, resize_crop, with_margin
from wss.data.geometry import Geometry
from wss.data.padding import cut_out, pad
from wss.data.streams import unpacked

GREY = (127.5, 127.5, 127.5)


@pytest.fixture(scope="module")
def golden(goldens):
    return dict(np.load(goldens / "preprocess_eval.npz"))


@pytest.fixture
def check(golden, parity):
    """check(quantity, actual, key of the golden or array)."""

    def run(quantity, actual, expected, tolerance=1e-4, measure="max"):
        expected = golden[expected] if isinstance(expected, str) else expected
        parity.check("preprocess_eval", quantity, actual, expected, tolerance, measure)

    return run


@pytest.mark.parametrize("case", range(4))
def test_color_jitter_equals_original(golden, check, case):
    draws = golden[f"jitter/{case}/draw_brightness_contrast_saturation_hue"]
    order = tf.constant(golden[f"jitter/{case}/perm"])
    image = tf.constant(golden["image"], tf.float32) / 255
    jitter = lambda x: color_jitter(x, tf.unstack(draws), order)
    for run in (jitter, tf.function(jitter)):
        check("colour jitter", run(image), f"jitter/{case}/out01")


@pytest.mark.parametrize(
    ("name", "position", "draw"),
    [
        ("brightness_0.3", 0, 0.3),
        ("contrast_0.5", 1, 0.5),
        ("contrast_1.4", 1, 1.4),
        ("saturation_0.6", 2, 0.6),
        ("saturation_1.5", 2, 1.5),
        ("hue_-0.25", 3, -0.25),
        ("hue_0.2", 3, 0.2),
    ],
)
def test_single_color_operation_equals_original(golden, check, name, position, draw):
    """The others draw what changes nothing; the golden is not clipped yet."""
    draws = [0.0, 1.0, 1.0, 0.0]
    draws[position] = draw
    order = tf.constant([position, *(other for other in range(4) if other != position)])
    out = color_jitter(tf.constant(golden["image"], tf.float32) / 255, draws, order)
    check("colour jitter", out, np.clip(golden[f"single_op/{name}"], 0, 1))


def test_padding_equals_original(golden, check):
    check("padding, flip", pad(tf.constant(golden["image"], tf.float32), (48, 64), GREY), "pad/image")
    check("labels and valid masks", pad(golden["label"], (48, 64), [255]), "pad/label", 0, "different")


def test_flip_equals_original(golden, check):
    """Views that only flip."""
    views = augment.Augmentation((40, 56), GREY, min_scale=1.0, max_scale=1.0, flip_probability=1.0)
    image, label = tf.constant(golden["image"], tf.float32), tf.constant(golden["label"], tf.int32)
    view = views.weak(image, label, tf.constant([0, 1], tf.int64))
    check("padding, flip", view["image"], "flip/image")
    check("labels and valid masks", view["label"], "flip/label", 0, "different")


@pytest.mark.parametrize("case", range(3))
def test_cutout_equals_original(golden, check, case):
    y, x, half_side = golden[f"cutout/{case}/center_yx_pad"]
    valid = tf.cast(tf.range(40)[:, None, None] < 35, tf.float32)  # the golden's input has five rows of padding
    valid = cut_out(tf.repeat(valid, 56, 1), tf.constant([y, x]), half_side=half_side, value=[0.0])
    check("labels and valid masks", valid, f"cutout/{case}/valid", 0, "different")


@pytest.mark.parametrize("image_name", ["random_scale", "random_scale_odd"])
def test_scale_equals_original(golden, check, image_name):
    suffix = "_odd" if image_name.endswith("odd") else ""
    image, label = tf.constant(golden["image" + suffix]), tf.constant(golden["label" + suffix], tf.int32)
    cases = [key.split("/")[1] for key in golden if key.startswith(image_name + "/") and key.endswith("image")]
    assert cases
    for case in cases:
        size = augment.scaled_size(image.shape[:2], float(case))
        whole = {"size": size, "offset": tf.zeros([2], tf.int32), "extent": size}
        check("random scale", resize_crop(image, **whole), f"{image_name}/{case}/image")
        check("random scale", resize_crop(tf.cast(image, tf.float32), **whole), f"{image_name}/{case}/image")
        rows, columns = (nearest_sources(*sides, True) for sides in zip(image.shape[:2], size, strict=True))
        scaled_label = tf.gather(tf.gather(label, rows), columns, axis=1)
        check("labels and valid masks", scaled_label, f"{image_name}/{case}/label", 0, "different")


def replay(golden, case, jitter_scope="image"):
    """Our view with the original's draws in place of random ones, and where its CutOut is."""
    factor, offset_y, offset_x, flip_draw = golden[f"train/{case}/scale_offy_offx_flipdraw"]
    views = augment.Augmentation((129, 129), GREY, jitter_scope=jitter_scope, label_align_corners=True)
    image, label = tf.constant(golden["train/image"], tf.float32), tf.constant(golden["train/label"], tf.int32)
    offset, flip = tf.constant([int(offset_y), int(offset_x)]), tf.constant(flip_draw <= 0.5)
    geometry = Geometry(augment.scaled_size(image.shape[:2], factor), offset, flip)
    if case.startswith("labeled"):
        return views.views(image, label, geometry)[0], None, tf.zeros([129, 129, 1])
    draws, order = golden[f"train/{case}/jitter_b_c_s_h"], tf.constant(golden[f"train/{case}/jitter_perm"])
    jitter = lambda x: color_jitter(x, tf.unstack(draws), order, maximum=255.0)
    center = tf.constant(golden[f"train/{case}/cutout_center_yx"])
    hole = 1 - cut_out(tf.ones([129, 129, 1]), center, half_side=50, value=[0.0])
    # The original flips after CutOut.
    weak, (strong,) = views.views(image, label, geometry, jitters=[jitter])
    return weak, strong, tf.reverse(hole, [1]) if flip else hole


@pytest.mark.parametrize("case", ["strong_big", "strong_pad", "strong_mixed", "labeled_pad", "labeled_big"])
def test_views_equal_original(golden, check, case):
    weak, strong, hole = replay(golden, case)
    check("weak and strong views", weak["image"], f"train/{case}/weak")
    if not case.startswith("labeled"):
        check("weak and strong views", tf.where(hole > 0, 127.5, strong), f"train/{case}/strong")
    check("labels and valid masks", weak["valid"] * (1 - hole), f"train/{case}/valid", 0, "different")
    # The original's label of an unlabelled image lacks what CutOut hides; ours keeps it.
    check("labels and valid masks", tf.where(hole > 0, 255, weak["label"]), f"train/{case}/label", 0, "different")


def test_jitter_of_the_crop_is_near_that_of_the_image(golden):
    _, strong, hole = replay(golden, "strong_big", jitter_scope="crop")
    distance = lambda image: np.mean(np.abs(image - golden["train/strong_big/strong"]) * (1 - hole))
    assert distance(strong) < 0.2 * distance(golden["train/strong_big/weak"])


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    return tf.constant(rng.uniform(0, 255, (50, 70, 3)), tf.float32), tf.constant(
        rng.integers(0, 3, (50, 70, 1)), tf.int32
    )


def test_same_seed_same_view_another_seed_another(example):
    views = augment.Augmentation((65, 65), GREY)
    weak = lambda *seed: views.weak_and_strong(*example, tf.constant(seed, tf.int64))["strong"]
    np.testing.assert_array_equal(weak(1, 2), weak(1, 2))
    assert not np.array_equal(weak(1, 2), weak(1, 3))


def test_views_in_tf_data_equal_eager(example):
    views = augment.Augmentation((65, 65), GREY, rotate_degrees=10.0, blur_probability=0.5)
    seeds = tf.constant([[5, index] for index in range(8)], tf.int64)
    mapped = tf.data.Dataset.from_tensor_slices(seeds).map(lambda seed: views.weak_and_strong(*example, seed))
    for seed, view in zip(seeds, mapped, strict=True):
        for name, value in views.weak_and_strong(*example, seed).items():
            np.testing.assert_allclose(view[name], value, atol=1e-3, err_msg=name)


def test_padding_is_mean_ignored_and_invalid(example):
    views = augment.Augmentation((161, 161), GREY, max_scale=1.0)
    for index in range(5):
        view = views.weak_and_strong(*example, tf.constant([0, index], tf.int64))
        padding = view["not_padding"][..., 0] == 0
        assert np.any(padding)
        np.testing.assert_array_equal(view["weak"][padding], 127.5)
        np.testing.assert_array_equal(view["strong"][padding], 127.5)
        np.testing.assert_array_equal(view["label"][padding], 255)
        assert tf.reduce_all(view["valid"] <= view["not_padding"])


@pytest.mark.parametrize("scope", augment.JITTER_SCOPES)
@pytest.mark.parametrize("padding", augment.PADDINGS)
def test_views_of_eight_bits_are_the_same_views_rounded(example, scope, padding):
    options = {
        "max_scale": 1.25,
        "jitter_scope": scope,
        "padding": padding,
        "cutout_half_side": 7,
        "blur_probability": 0.5,
    }
    exact = augment.Augmentation((65, 65), GREY, **options)
    rounded = augment.Augmentation((65, 65), GREY, eight_bits=True, **options)
    for index in range(6):
        seed = tf.constant([0, index], tf.int64)
        packed = rounded.weak_and_strong(*example, seed, strong=2)
        assert all(value.dtype == tf.uint8 for value in packed.values())
        views = unpacked({"unlabeled": packed})["unlabeled"]
        for name, value in exact.weak_and_strong(*example, seed, strong=2).items():
            assert views[name].dtype == value.dtype, name
            is_image = name.startswith(("weak", "strong"))
            # The eager and the rounded sums differ in their last bit, so that a half may go either way.
            np.testing.assert_allclose(views[name], value, atol=0.501 if is_image else 0, err_msg=name)


def test_rounding_keeps_black_and_white(example):
    views = augment.Augmentation(
        (65, 65), GREY, eight_bits=True, max_scale=0.5, jitter_strength=0.0, cutout_half_side=0
    )
    for value in (0, 255):
        image = tf.fill(tf.shape(example[0]), tf.cast(value, example[0].dtype))
        view = views.weak(image, example[1], tf.constant([0, 1], tf.int64))
        inside = view["valid"][..., 0] == 1
        assert set(np.unique(view["image"][inside])) == {value}


def test_zero_strength_leaves_the_weak_view(example):
    views = augment.Augmentation((65, 65), GREY, jitter_strength=0.0, cutout_half_side=0)
    view = views.weak_and_strong(*example, tf.constant([0, 1], tf.int64))
    np.testing.assert_array_equal(view["strong"], view["weak"])


def test_scale_factors_are_the_seven_of_the_paper():
    draws = [
        float(augment.random_scale_factor(tf.constant([0, index], tf.int64), minimum=0.5, maximum=2.0, step=0.25))
        for index in range(200)
    ]
    assert set(draws) == {0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0}


def test_image_label_leaves_out_background_and_void():
    label = tf.constant([[0, 2], [255, 3]])[..., None]
    np.testing.assert_array_equal(augment.image_label_of(label, 5), [0, 1, 1, 0])
    np.testing.assert_array_equal(augment.image_label_of(label, 5, has_background=False), [1, 0, 1, 1, 0])


def test_cut_out_by_hand():
    """Two rows and columns on each side of (1, 4), as far as 3 x 5 pixels go."""
    out = cut_out(tf.zeros([3, 5, 2]), tf.constant([1, 4]), half_side=2, value=[1.0, 2.0])
    expected = [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(out[..., 0], expected)
    np.testing.assert_array_equal(out[..., 1], 2 * np.array(expected))


@pytest.mark.parametrize("left", [False, True])
def test_pad_by_hand(left):
    image = tf.constant([[[1, 2], [3, 4]]])
    padded = pad(image, (2, 3), [8, 9], left=tf.constant(left)).numpy()
    row = [[8, 9], [1, 2], [3, 4]] if left else [[1, 2], [3, 4], [8, 9]]
    assert padded.tolist() == [row, [[8, 9]] * 3]
    np.testing.assert_array_equal(pad(padded, (2, 3), [0, 0], left=left), padded)


def test_color_jitter_is_the_same_in_parts_of_any_maximum(example):
    draws, image = [0.2, 1.3, 0.7, -0.1], example[0]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        parts = color_jitter(image / 255, draws, tf.constant(order))
        np.testing.assert_allclose(
            color_jitter(image, draws, tf.constant(order), maximum=255.0), parts * 255, atol=1e-3
        )


def turned(image, angle, fill):
    """Pixels of an image that turns counter-clockwise about (height / 2, width / 2), interpolated one by one."""
    height, width, channels = image.shape
    whole = np.full((height + 2, width + 2, channels), fill, np.float64)
    whole[1:-1, 1:-1] = image
    out = np.full(image.shape, fill, np.float64)
    for y, x in np.ndindex(height, width):
        dy, dx = y - height / 2, x - width / 2
        sy = height / 2 + np.sin(angle) * dx + np.cos(angle) * dy
        sx = width / 2 + np.cos(angle) * dx - np.sin(angle) * dy
        top, left = int(np.floor(sy)), int(np.floor(sx))
        if -1 <= top < height and -1 <= left < width:
            corners = whole[top + 1 : top + 3, left + 1 : left + 3]
            weights = np.outer([top + 1 - sy, sy - top], [left + 1 - sx, sx - left])
            out[y, x] = np.tensordot(weights, corners, 2)
    return out


def still(size, offset=(0, 0), degrees=None, blur=None):
    angle = None if degrees is None else tf.constant(np.radians(degrees), tf.float32)
    blur = None if blur is None else tf.constant(blur)
    return Geometry(tf.constant(size), tf.constant(offset), tf.constant(False), angle=angle, blur=blur)


def test_a_quarter_turn_by_hand():
    """About (2, 2) of 4 x 4 pixels, half a pixel from their middle: one row of np.rot90 is lost, one is fill."""
    label = tf.reshape(tf.range(16), [4, 4, 1])
    views = augment.Augmentation((4, 4), (100.0, 50.0, 25.0))
    view, _ = views.views(tf.cast(tf.repeat(label, 3, 2), tf.uint8), label, still((4, 4), degrees=90))
    expected = [[3, 7, 11, 15], [2, 6, 10, 14], [1, 5, 9, 13]]
    np.testing.assert_array_equal(view["label"][..., 0], [[255] * 4, *expected])
    np.testing.assert_array_equal(view["valid"][..., 0], [[0] * 4, *[[1] * 4] * 3])
    np.testing.assert_allclose(view["image"][1:, :, 0], expected, atol=1e-4)
    np.testing.assert_allclose(view["image"][0], [[100, 50, 25]] * 4, atol=1e-4)


@pytest.mark.parametrize("degrees", [-30.0, 7.5, 45.0])
@pytest.mark.parametrize("size", [(50, 70), (25, 35), (60, 84)])
def test_rotation_by_hand(example, size, degrees):
    """Each pixel of the whole scaled image; the label's corners are ignored, the image's are the mean colour."""
    image, label = example
    views = augment.Augmentation(size, GREY)
    scaled, _ = views.views(image, label, still(size))
    view, _ = views.views(image, label, still(size, degrees=degrees))
    np.testing.assert_allclose(view["image"], turned(scaled["image"].numpy(), np.radians(degrees), 127.5), atol=0.05)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert view["valid"].numpy()[corner] == 0
    inside = view["valid"].numpy() > 0
    np.testing.assert_array_equal(view["label"].numpy()[~inside], 255)
    of_class = [
        turned((scaled["label"].numpy() == number).astype(float), np.radians(degrees), 0) for number in range(3)
    ]
    nearest, clear = np.argmax(of_class, 0), np.max(of_class, 0) > 0.75  # more than the other three neighbours together
    np.testing.assert_array_equal(view["label"].numpy()[clear], nearest[clear])
    assert clear.sum() > 100 and inside[clear].all()


@pytest.mark.parametrize("scope", ["crop", "image"])
@pytest.mark.parametrize("size", [(50, 70), (25, 35), (60, 84), (110, 150)])
def test_only_the_pixels_of_the_crop_are_computed(example, size, scope):
    """They are those of the whole rotated and blurred image, on the strong view too."""
    for offset in ((0, 0), (4, 1), (size[0] - 20, size[1] - 30)):
        turn = {"degrees": 20.0, "blur": True}
        whole, _ = augment.Augmentation(size, GREY).views(*example, still(size, **turn))
        views = augment.Augmentation((20, 30), GREY, jitter_scope=scope)
        view, (strong,) = views.views(*example, still(size, offset, **turn), jitters=[lambda pixels: pixels])
        for name, value in view.items():
            expected = crop(whole[name], tf.constant(offset), tf.constant([20, 30]))
            np.testing.assert_allclose(value, expected, atol=0.01, err_msg=name)
        np.testing.assert_allclose(strong, view["image"], atol=0.01)


@pytest.mark.parametrize("size", [(51, 70), (25, 33), (111, 150)])
def test_a_view_that_is_not_rotated_or_blurred_after_all_is_the_same_bit_by_bit(example, size):
    views = augment.Augmentation((40, 30), GREY)
    expected, _ = views.views(*example, still(size, (0, 3)))
    view, _ = views.views(*example, still(size, (0, 3), degrees=0.0, blur=False))
    for name, value in view.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_a_crop_may_lie_wholly_in_a_corner(example):
    view, _ = augment.Augmentation((5, 5), GREY).views(*example, still((50, 70), degrees=45.0))
    assert not np.any(view["valid"]) and np.all(view["label"] == 255) and np.all(view["image"] == 127.5)


def test_blur_of_an_impulse_is_the_product_of_its_kernels():
    row = np.array([1, 4, 6, 4, 1]) / 16
    image = np.zeros((7, 9, 1), np.float32)
    image[3, 4] = 256
    whole = {"size": tf.constant((7, 9)), "offset": tf.constant((0, 0)), "extent": tf.constant((7, 9))}
    expected = np.zeros((7, 9))
    expected[1:6, 2:7] = 256 * np.outer(row, row)
    np.testing.assert_array_equal(blur_crop(tf.constant(image), **whole)[..., 0], expected)


@pytest.mark.parametrize(("position", "expected"), [(0, [6, 4, 1, 0]), (1, [8, 7, 4, 2]), (3, [0, 1, 4, 6])])
def test_blur_reflects_the_border_without_repeating_it(position, expected):
    """One row of four pixels, the same in each row of the image."""
    image = np.zeros((4, 4, 1), np.float32)
    image[:, position] = 16
    whole = {"size": tf.constant((4, 4)), "offset": tf.constant((0, 0)), "extent": tf.constant((4, 4))}
    np.testing.assert_array_equal(blur_crop(tf.constant(image), **whole)[..., 0], [expected] * 4)


def test_a_margin_ends_with_the_image():
    margin = with_margin(tf.constant((10, 10)), tf.constant((1, 5)), tf.constant((9, 3)), margin=2)
    np.testing.assert_array_equal(margin, [(0, 3), (10, 7)])


def test_rotation_and_blur_leave_the_other_draws(example):
    seeds = [tf.constant([2, number], tf.int64) for number in range(100)]
    draw = lambda **changes: [
        augment.Augmentation((33, 33), GREY, **changes)._draw_geometry(example[0].shape[:2], seed) for seed in seeds
    ]
    off, on = draw(), draw(rotate_degrees=10.0, rotate_probability=0.4, blur_probability=0.7)
    assert all(geometry.angle is None and geometry.blur is None for geometry in off)
    for one, other in zip(off, on, strict=True):
        for name in ("size", "offset", "flip"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    degrees = np.degrees([geometry.angle for geometry in on if geometry.angle])
    assert 25 < len(degrees) < 55 and -10 <= min(degrees) < -7 and 7 < max(degrees) <= 10
    assert 55 < sum(bool(geometry.blur) for geometry in on) < 85


def test_hues_are_jittered_unless_they_are_left_out(monkeypatch):
    """The draws of the other three, and their order among themselves, stay as they are."""
    image = tf.random.stateless_uniform([5, 7, 3], [1, 2], 0, 255)
    seeds = [tf.constant([number, 3]) for number in range(8)]
    jittered = lambda hue: [random_jitter(seed, 1.0, hue=hue)(image).numpy() for seed in seeds]
    with_hue, without = jittered(True), jittered(False)
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(with_hue, without, strict=True))
    monkeypatch.setattr(tf.image, "adjust_hue", lambda image, delta: image)
    for one, other in zip(jittered(True), without, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
