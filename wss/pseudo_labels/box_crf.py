"""The part of masks from boxes that runs in other processes, without TensorFlow, so that these start fast."""

import numpy as np

from wss.ops.dense_crf import CRFSettings, dense_crf


def masks_of(
    probabilities: np.ndarray, image: np.ndarray, allowed: np.ndarray, settings: CRFSettings | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the likeliest class of each pixel before and after a dense CRF, uint8 [H, W] each.

    Args:
        probabilities: float32 [H, W, C].
        image: uint8 [H, W, 3].
        allowed: bool [H, W, C], whether a class may be at a pixel; class 0 may be everywhere.
        settings: Parameters of the CRF; None makes none.
    """
    plain = _likeliest(probabilities, allowed)
    if settings is None or probabilities.shape[-1] == 1:
        return plain, plain
    return plain, _likeliest(dense_crf(probabilities, image, settings), allowed)


def _likeliest(probabilities: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    return np.argmax(probabilities * allowed, -1).astype(np.uint8)
