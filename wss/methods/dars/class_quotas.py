"""Quotas of pseudo labels: a share of all pixels, distributed over the classes as in the labelled images."""

import math
from fractions import Fraction

import numpy as np

from wss.errors import UserError, did_you_mean

ROUNDINGS = ("largest_remainder", "floor")


def distribution(pixels: np.ndarray) -> np.ndarray:
    """Returns the share of each class, float64 `[C]`, from its labelled pixels, int64 `[C]`.

    Raises:
        UserError: There are none.
    """
    pixels = np.asarray(pixels)
    if not pixels.sum() > 0:
        raise UserError("no labelled pixels: the distribution of the classes needs a split with masks")
    return pixels / pixels.sum()


def quotas(
    alpha: float, distribution: np.ndarray, total_pixels: int, *, rounding: str = "largest_remainder"
) -> np.ndarray:
    """Returns how many pixels of each class to label: n_j = alpha r_j P (DARS, eq. 4) in whole pixels.

    Computed in fractions: `alpha` and shares are the decimals that they print as, so that 0.29 of 100 is 29.

    Args:
        alpha: Share of all pixels to label, 0 .. 1.
        distribution: `[C]`, share of each class in the labelled images; its sum counts as 1, so pixels do too.
        total_pixels: P, number of all unlabelled pixels.
        rounding: Way to whole pixels. "largest_remainder" makes the sum round(alpha P) exactly (half to even; among equal
            remainders the first class gains), "floor" rounds down as the DARS code does.

    Returns:
        int64 `[C]`.

    Raises:
        UserError: `alpha`, the distribution or the rounding cannot be.
    """
    if rounding not in ROUNDINGS:
        raise UserError(
            f"rounding: found {rounding!r}, expected {' or '.join(ROUNDINGS)}.{did_you_mean(rounding, ROUNDINGS)}"
        )
    shares = np.asarray(distribution)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.any()):
        raise UserError(f"distribution of the classes: found {shares.tolist()}, expected shares, not all of them 0")
    total = share_of(alpha, total_pixels)
    weights = [_exact(share) for share in shares.tolist()]
    per_weight = total / sum(weights)
    wanted = [per_weight * weight for weight in weights]
    whole = [math.floor(pixels) for pixels in wanted]
    if rounding == "largest_remainder":
        by_remainder = sorted(range(len(wanted)), key=lambda j: whole[j] - wanted[j])
        for j in by_remainder[: round(total) - sum(whole)]:
            whole[j] += 1
    return np.array(whole, np.int64)


def share_of(alpha: float, pixels: int) -> Fraction:
    """Returns alpha times a number of pixels, exactly.

    Raises:
        UserError: `alpha` is not in 0 .. 1.
    """
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha: found {alpha}, expected a share of the pixels, 0..1 (such as 0.2)")
    return _exact(alpha) * int(pixels)


def kl_divergence(target: np.ndarray, counts: np.ndarray) -> float:
    """Returns how far labels are from a distribution: D_KL(r || q) = sum of r_j log(r_j / q_j), in nats.

    Args:
        target: Shares or pixels of each class, `[C]`; r is their share.
        counts: Labelled pixels of each class, `[C]`; q is their share.

    Returns:
        0 where both agree; infinite if a class of the target has no label.
    """
    present = np.asarray(target) > 0
    if not np.asarray(counts)[present].all():
        return math.inf
    r, q = (np.asarray(values, np.float64) / np.sum(values, dtype=np.float64) for values in (target, counts))
    return float(np.sum(r[present] * np.log(r[present] / q[present])))


def _exact(value: float) -> Fraction:
    return Fraction(value) if isinstance(value, int) else Fraction(repr(float(value)))
