"""The fully connected CRF: probabilities that follow the edges of the photo.

Source: Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011.
NumPy and SciPy alone, so that it runs in any worker process.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeAlias

import gin
import numpy as np

from wss.errors import UserError
from wss.ops.crf_kernels import ExactKernel, LatticeBilateral, SeparableGaussian, bilateral_features, place_features
from wss.parameter_ranges import in_ranges
from wss.ranges import Integer, Number, Switch

# A standard deviation below 0.1 pixel or grey value is one of 0.1: neighbours have exp(-50) there.
_STD = Number(minimum=0.1, maximum=10_000)
_WEIGHT = Number(minimum=0, maximum=1_000)

# Adds the message of a field to logits, both float32 [C, H, W].
Kernel: TypeAlias = Callable[[np.ndarray, np.ndarray], None]


@gin.configurable
@in_ranges(
    "CRFSettings",
    bilateral_weight=_WEIGHT,
    bilateral_xy_std=_STD,
    bilateral_rgb_std=_STD,
    gaussian_weight=_WEIGHT,
    gaussian_xy_std=_STD,
    iterations=Integer(0, 1_000),
    smallest_probability=Number(minimum=1e-30, maximum=0.5),
    fill_lattice=Switch(),
)
@dataclasses.dataclass(frozen=True)
class CRFSettings:
    """The parameters of the fully connected CRF; the defaults are those that papers write as [4, 55, 3, 3, 3].

    Attributes:
        bilateral_weight: Weight of the kernel of nearness and similar colour; 0 leaves it out.
        bilateral_xy_std: Its standard deviation in pixels.
        bilateral_rgb_std: Its standard deviation in grey values, 0 .. 255.
        gaussian_weight: Weight of the kernel of nearness alone; 0 leaves it out.
        gaussian_xy_std: Its standard deviation in pixels.
        iterations: Number of mean-field updates.
        smallest_probability: Lower bound of the given probabilities.
        fill_lattice: Whether the lattice behind the bilateral kernel has further points, which bring it nearer to the
            exact kernel but take 2.5 times the time and memory. False is pydensecrf's lattice.
    """

    bilateral_weight: float = 4.0
    bilateral_xy_std: float = 55.0
    bilateral_rgb_std: float = 3.0
    gaussian_weight: float = 3.0
    gaussian_xy_std: float = 3.0
    iterations: int = 10
    smallest_probability: float = 1e-5
    fill_lattice: bool = False


def dense_crf(
    probabilities: np.ndarray, image: np.ndarray, settings: CRFSettings | None = None, *, exact: bool = False
) -> np.ndarray:
    """Returns the mean field of the fully connected CRF over one image: each pixel's distribution over the classes.

    Each update is Q = softmax(log P + w_g K_g Q + w_b K_b Q), with Potts' compatibility and normalised kernels. Their
    sums include the pixel itself.

    Args:
        probabilities: Floats `[H, W, C]`, 0 or more. What lies below `settings.smallest_probability` or above 1 is clipped.
        image: RGB, uint8 `[H, W, 3]`.
        settings: Parameters; None for the defaults.
        exact: Whether the kernels sum over all pairs of pixels. That takes (HW)^2 operations, so only for small images.

    Returns:
        float32 `[H, W, C]`, summing to 1 over C.

    Raises:
        UserError: An array has another shape or type, or a probability is negative or not finite.
    """
    settings = settings or CRFSettings()
    probabilities, image = np.asarray(probabilities), np.asarray(image)
    _check(probabilities, image)
    kernels = list(_kernels(image, settings, exact))
    log_unary = np.moveaxis(probabilities, -1, 0).astype(np.float32, order="C")
    np.clip(log_unary, settings.smallest_probability, 1, out=log_unary)
    np.log(log_unary, out=log_unary)
    field = _softmax(log_unary.copy())
    for _ in range(settings.iterations):
        logits = log_unary.copy()
        for kernel in kernels:
            kernel(field, logits)
        field = _softmax(logits)
    return np.ascontiguousarray(np.moveaxis(field, 0, -1))


def _kernels(image: np.ndarray, settings: CRFSettings, exact: bool) -> Iterator[Kernel]:
    """Yields the kernels of the settings, without those of weight 0."""
    size = image.shape[:2]
    if weight := settings.gaussian_weight:
        std = settings.gaussian_xy_std
        yield ExactKernel(place_features(size, std), weight) if exact else SeparableGaussian(size, std, weight)
    if weight := settings.bilateral_weight:
        stds = {"xy_std": settings.bilateral_xy_std, "rgb_std": settings.bilateral_rgb_std}
        if exact:
            yield ExactKernel(bilateral_features(image, **stds), weight)
        else:
            yield LatticeBilateral(image, **stds, weight=weight, fill=settings.fill_lattice)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Turns float32 `[C, H, W]` into its softmax over the classes, in place, and returns it."""
    logits -= logits.max(0)
    np.exp(logits, out=logits)
    logits /= logits.sum(0)
    return logits


def _check(probabilities: np.ndarray, image: np.ndarray) -> None:
    """Raises a `UserError` in one line where an array is not what `dense_crf` expects."""
    found = f"probabilities: {probabilities.dtype} of shape {probabilities.shape}"
    if probabilities.ndim != 3 or probabilities.dtype.kind != "f" or not probabilities.size:
        raise UserError(f"{found}, expected floats [H, W, C]")
    height, width, _ = probabilities.shape
    if image.dtype != np.uint8 or image.shape != (height, width, 3):
        expected = f"uint8 [{height}, {width}, 3], the size of the probabilities"
        raise UserError(f"image: {image.dtype} of shape {image.shape}, expected {expected}")
    smallest, largest = probabilities.min(), probabilities.max()
    if not (smallest >= 0 and np.isfinite(largest)):  # NaN compares as false
        raise UserError(f"probabilities: values from {smallest} to {largest}, expected finite numbers, 0 or more")
