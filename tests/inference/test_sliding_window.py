"""Windows over an image: where they lie, and that what is said of them comes back to the right pixels, by hand."""

import numpy as np
import pytest

from wss.inference.sliding_window import SlidingWindowAverage, SlidingWindows

GREY = (10.0, 20.0, 30.0)


def windows_over(
    image: np.ndarray, window: tuple[int, int], stride: float, pad_value=GREY, centered: bool = True, flip: bool = True
) -> SlidingWindowAverage:
    return SlidingWindowAverage(image, SlidingWindows(image.shape[:2], window, stride, centered), pad_value, flip)


def row(*values: float) -> np.ndarray:
    """An image of one row, whose red channel has these values."""
    image = np.zeros([1, len(values), 3], np.float32)
    image[0, :, 0] = values
    return image


def red(window: np.ndarray) -> list:
    return window[..., 0].tolist()


def test_windows_of_the_paper():
    """Cityscapes at 512 x 1024, crop 361: stride 241, starts 0, 241, 482, 663 across and 0, 151 down."""
    image = np.zeros([512, 1024, 3], np.float32)
    image[..., 0] = np.arange(1024)
    image[..., 1] = np.arange(512)[:, None]
    average = windows_over(image, (361, 361), 2 / 3, GREY, flip=False)
    windows = list(average.windows())
    assert len(average) == len(windows) == 8
    assert all(window.shape == (361, 361, 3) for window in windows)
    corners = [tuple(window[0, 0, 1::-1].astype(int)) for window in windows]
    assert corners == [(y, x) for y in (0, 151) for x in (0, 241, 482, 663)]


def test_a_constant_network_gives_a_constant_mean():
    """1024 pixels wide, crop 361: 4 windows; up to 3 of them overlap, and the mean is that of one."""
    average = windows_over(np.zeros([361, 1024, 3], np.float32), (361, 361), 2 / 3, GREY)
    assert len(average) == 2 * 4
    for window in average.windows():
        average.add(np.full([*window.shape[:2], 2], [3.0, -7.5], np.float32))
    np.testing.assert_array_equal(average.mean(), np.tile(np.float32([3, -7.5]), [361, 1024, 1]))


def test_a_smaller_image_lies_in_the_middle_of_the_padding():
    """2 x 3 pixels in a window of 5 x 6: 1 row above and 2 below, 1 column to the left and 2 to the right."""
    image = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    average = windows_over(image, (5, 6), 2 / 3, GREY, flip=False)
    (window,) = average.windows()
    expected = np.tile(np.float32(GREY), [5, 6, 1])
    expected[1:3, 1:4] = image
    np.testing.assert_array_equal(window, expected)
    average.add(window)
    np.testing.assert_array_equal(average.mean(), image)


def test_or_at_the_top_and_left_of_it():
    image = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    average = windows_over(image, (5, 6), 2 / 3, GREY, centered=False, flip=False)
    (window,) = average.windows()
    np.testing.assert_array_equal(window[:2, :3], image)
    np.testing.assert_array_equal(window[4, 5], GREY)
    average.add(window)
    np.testing.assert_array_equal(average.mean(), image)


def test_only_the_side_that_is_smaller_is_padded():
    """Height 1 of 3, width 5: one row of padding on both sides, windows of 3 columns at 0 and 2."""
    average = windows_over(row(1, 2, 3, 4, 5), (3, 3), 2 / 3, (0, 0, 0), flip=False)
    assert [red(window) for window in average.windows()] == [
        [[0, 0, 0], [1, 2, 3], [0, 0, 0]],
        [[0, 0, 0], [3, 4, 5], [0, 0, 0]],
    ]


def test_mirror_images_are_mirrored_back():
    average = windows_over(row(1, 2, 4), (1, 3), 2 / 3, GREY)
    plain, mirrored = average.windows()
    assert red(plain) == [[1, 2, 4]] and red(mirrored) == [[4, 2, 1]]
    average.add(np.float32([[[10], [20], [30]]]))
    average.add(np.float32([[[1], [2], [3]]]))  # of the pixels from right to left
    np.testing.assert_array_equal(average.mean()[0, :, 0], [(10 + 3) / 2, (20 + 2) / 2, (30 + 1) / 2])


def test_the_mean_over_overlaps_by_hand():
    """4 columns, windows of 3, stride 2, the second moved back to 1: columns 1 and 2 are seen twice."""
    average = windows_over(row(0, 0, 0, 0), (1, 3), 2 / 3, GREY, flip=False)
    average.add(np.float32([[[1], [2], [3]]]))
    average.add(np.float32([[[10], [20], [30]]]))
    np.testing.assert_array_equal(average.mean()[0, :, 0], [1, (2 + 10) / 2, (3 + 20) / 2, 30])


def test_a_network_that_repeats_the_image_gives_it_back():
    image = np.random.default_rng(0).uniform(0, 255, [23, 31, 3]).astype(np.float32)
    for window, stride in (((8, 9), 2 / 3), ((30, 7), 0.1), ((23, 31), 1.0), ((40, 40), 0.5)):
        average = windows_over(image, window, stride, GREY)
        for part in average.windows():
            average.add(part)
        np.testing.assert_allclose(average.mean(), image, rtol=1e-5)


def test_a_missing_window_is_noticed():
    average = windows_over(row(1, 2, 3, 4), (1, 3), 2 / 3, GREY)
    for _ in range(3):
        average.add(np.zeros([1, 3, 2], np.float32))
    with pytest.raises(ValueError, match="3 of 4 windows"):
        average.mean()
