"""Quotas to the pixel, and how far labels are from a distribution."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wss.errors import UserError
from wss.methods.dars.class_quotas import distribution, kl_divergence, quotas

# Percent of all pixels of the 372 labelled Cityscapes images of DARS' 1/8 split, by class (from the code of the paper).
PRIORS = np.array(
    [32.07, 5.71, 20.7, 0.564, 0.761, 1.054, 0.1696, 0.5014, 13.4993, 0.8981]
    + [3.6445, 1.1458, 0.1393, 6.0, 0.2949, 0.1954, 0.2341, 0.0818, 0.3917]
)


def test_distribution_by_hand():
    np.testing.assert_array_equal(distribution(np.array([30, 0, 10])), [0.75, 0, 0.25])
    with pytest.raises(UserError, match="no labelled pixels"):
        distribution(np.zeros(3, np.int64))


def test_quotas_by_hand():
    """Of 10 pixels 3.5, 3.5 and 3 are wanted with alpha = 1: the first of the equal remainders gains."""
    shares = np.array([0.35, 0.35, 0.3])
    np.testing.assert_array_equal(quotas(1, shares, 10), [4, 3, 3])
    np.testing.assert_array_equal(quotas(1, shares, 10, rounding="floor"), [3, 3, 3])
    np.testing.assert_array_equal(quotas(0.5, shares, 10), [2, 2, 1])
    assert quotas(0.5, shares, 10).dtype == np.int64


def test_decimals_are_what_they_print_as():
    """In floating point .29 * 100 is 28.999999999999996."""
    assert quotas(0.29, np.array([1.0]), 100, rounding="floor") == 29
    np.testing.assert_array_equal(quotas(1, np.array([0.3, 0.7]), 100, rounding="floor"), [30, 70])


def test_pixels_do_as_a_distribution():
    np.testing.assert_array_equal(quotas(1, np.array([1, 1, 1]), 3, rounding="floor"), [1, 1, 1])


def test_quotas_of_the_published_distribution():
    """The shares sum to 88.055 %. With alpha = .2 the rarest class gets a tenth of a percent of the labels."""
    assert PRIORS.sum() == pytest.approx(88.055, abs=0.01)
    total = 2603 * 1024 * 2048
    counts = quotas(0.2, PRIORS, total)
    assert counts.sum() == round(Fraction(1, 5) * total)
    assert counts[17] == pytest.approx(0.2 * total * 0.0818 / 88.055, rel=1e-4)
    assert kl_divergence(PRIORS, counts) == pytest.approx(0, abs=1e-9)


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=30).filter(any),
    st.decimals(0, 1, places=4),
    st.integers(0, 2 * 10**12),
)
def test_quotas_sum_to_the_pixel(weights, alpha, total):
    """Up to 10^6 images of 2 megapixels."""
    shares, wanted = distribution(np.array(weights)), Fraction(alpha) * total
    counts, floors = (
        quotas(float(alpha), shares, total, rounding=rounding) for rounding in ("largest_remainder", "floor")
    )
    assert counts.sum() == round(wanted)
    assert set((counts - floors).tolist()) <= {0, 1}
    assert wanted - len(weights) < floors.sum() <= wanted
    assert not counts[np.array(weights) == 0].any()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_out_of_range(alpha):
    with pytest.raises(UserError, match=r"alpha: found .*, expected a share of the pixels, 0\.\.1"):
        quotas(alpha, np.array([1.0]), 10)


@pytest.mark.parametrize("shares", [[0.0, 0.0], [0.5, -0.5], [math.nan, 1.0]])
def test_impossible_distributions(shares):
    with pytest.raises(UserError, match="distribution of the classes"):
        quotas(0.5, np.array(shares), 10)


def test_unknown_rounding():
    with pytest.raises(UserError, match="Did you mean 'floor'"):
        quotas(0.5, np.array([1.0]), 10, rounding="flor")


def test_oracle_8_kl_divergence_by_hand():
    """.5 log(.5 / .9) + .5 log(.5 / .1) = .510826."""
    assert kl_divergence(np.array([0.5, 0.5]), np.array([90, 10])) == pytest.approx(0.510826, abs=1e-6)
    assert kl_divergence(np.array([0.75, 0.25]), np.array([30, 10])) == 0


def test_oracle_8_kl_divergence_of_absent_classes():
    assert kl_divergence(np.array([0.5, 0.5, 0]), np.array([5, 5, 0])) == 0
    assert kl_divergence(np.array([1.0, 0]), np.array([1, 1])) == pytest.approx(math.log(2))
    assert kl_divergence(np.array([0.5, 0.5]), np.array([5, 0])) == math.inf
    assert kl_divergence(np.array([0.5, 0.5]), np.array([0, 0])) == math.inf
