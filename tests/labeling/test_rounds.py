"""What grows from round to round."""

import pytest

from wss.labeling.rounds import scale_range


def test_scales_of_the_paper_grow_by_beta():
    """DARS on Cityscapes, crop 361: 0.25 .. 1 in the first round, 0.2 .. 1.5 in the second."""
    assert scale_range(0.25, 1.0, 0.2, 0.5) == pytest.approx((0.2, 1.5))
    assert scale_range(0.5, 1.5, 0.0, 1 / 3) == pytest.approx((0.5, 2.0))
