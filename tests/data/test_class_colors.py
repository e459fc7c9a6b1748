"""Default colours, measured: CIELAB distances as people with normal sight, protanopes and deuteranopes see them.

The simulation is that of Vienot, Brettel and Mollon (1999). The distance is that of CIE 1976; side by side 2.3 are just
noticed. A region shows its colour at an opacity of 0.55 over grey. That leaves half of a distance, and regions lie apart.
So 20 is asked for: after the blending, four times what is just noticed.
"""

import numpy as np
import pytest

from wss.data.class_colors import MAX_COLORS, default_colors
from wss.data.masks import IGNORE_COLOR, voc_colors

LEAST, LEAST_IN_NORMAL_SIGHT = 20.0, 30.0
# Of linear red, green and blue, as in Vienot et al.: the cones' answers, and what a missing kind of cone becomes.
LMS = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
PROTANOPE = np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]])
DEUTERANOPE = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
SIGHTS = {
    "normal": np.eye(3),
    "protanope": np.linalg.inv(LMS) @ PROTANOPE @ LMS,
    "deuteranope": np.linalg.inv(LMS) @ DEUTERANOPE @ LMS,
}
# sRGB to XYZ, and the white of D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colors, sight="normal"):
    """Returns L*, a*, b* of sRGB colours 0 .. 255 under a simulated sight."""
    values = np.asarray(colors, float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ SIGHTS[sight].T, 0, 1)
    x, y, z = (np.cbrt(part) for part in (seen @ XYZ.T / XYZ.sum(axis=1)).T)  # linear only for the darkest, none here
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def distances(colors, others, sight):
    return np.linalg.norm(lab(colors, sight)[:, None] - lab(others, sight)[None], axis=-1)


def least(colors, sight):
    found = distances(colors, colors, sight)
    return found[~np.eye(len(colors), dtype=bool)].min()


def test_the_measure_is_that_of_the_textbooks():
    """L*a*b* of pure sRGB red and blue; red and a dark yellow are one to a protanope, greys stay what they are."""
    np.testing.assert_allclose(lab([(255, 0, 0), (0, 0, 255)]), [(53.2, 80.1, 67.2), (32.3, 79.2, -107.9)], atol=0.3)
    for sight in SIGHTS:
        np.testing.assert_allclose(lab([(128, 128, 128)], sight), [(53.6, 0, 0)], atol=0.7)
    assert distances([(255, 0, 0)], [(94, 94, 0)], "normal").min() > 60
    assert distances([(255, 0, 0)], [(94, 94, 0)], "protanope").min() < 5


def test_the_colours_of_voc_would_fail():
    """They have a grey and are dark, and two are nearly one to a deuteranope."""
    colors = voc_colors(13)[1:]
    assert least(colors, "deuteranope") < 10 and (128, 128, 128) in map(tuple, colors.tolist())


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_first_twelve_are_told_apart(sight):
    colors = default_colors(12, has_background=False)
    assert least(colors, sight) >= (LEAST_IN_NORMAL_SIGHT if sight == "normal" else LEAST)
    # The background is black, and overlays leave it clear.
    assert distances(colors, [(0, 0, 0)], sight).min() >= LEAST


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_first_twelve_are_no_greys(sight):
    colors = default_colors(12, has_background=False)
    greys = [(value, value, value) for value in range(256)]
    assert distances(colors, [*greys, IGNORE_COLOR], sight).min() >= LEAST


def test_no_colour_is_grey_nearly_black_or_nearly_white():
    colors = default_colors(MAX_COLORS, has_background=False)
    greys = [(value, value, value) for value in range(256)]
    assert distances(colors, [*greys, IGNORE_COLOR], "normal").min() >= LEAST
    lightness = lab(colors)[:, 0]
    assert lightness.min() >= 25 and lightness.max() <= 93


@pytest.mark.parametrize("has_background", [True, False])
@pytest.mark.parametrize("count", [2, 13, 256])
def test_there_are_256_and_no_two_are_alike(count, has_background):
    colors = default_colors(count, has_background)
    assert len(set(colors)) == len(colors) == count
    assert ((0, 0, 0) in colors) == has_background and IGNORE_COLOR not in colors
    assert colors == default_colors(256, has_background)[:count]  # more classes leave the others' colours
    if has_background:
        assert colors[0] == (0, 0, 0)
