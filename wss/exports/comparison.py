"""What a written file makes of photos, beside what the network makes of them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from wss.data.resize import ResizeToRange
from wss.exports.photos import RawPhoto
from wss.inference.photos import padded_alone
from wss.inference.prediction import predict
from wss.models.deeplab import DeepLab
from wss.ops import metrics
from wss.ops.resizing import resize_bilinear


def network_probabilities(network: DeepLab, resize: ResizeToRange, photo: np.ndarray) -> np.ndarray:
    """Returns what an evaluation computes for one photo, at the photo's own size.

    Args:
        network: The trained network as it is, not its copy in a file.
        resize: Size at which it sees photos.
        photo: uint8 [H, W, 3].

    Returns:
        Probabilities float32 [H, W, C].
    """
    image = resize.image(photo)
    height, width = image.shape[:2]
    padded = padded_alone(image, network.padding)
    probabilities = predict(network, tf.constant(padded))[:, :height, :width]
    return resize_bilinear(probabilities, photo.shape[:2])[0].numpy()


class Difference:
    """The difference of a file from the network, summed over photos.

    Args:
        num_classes: C.
        ignore_label: Label of pixels that count nowhere.

    Attributes:
        largest: Largest difference of a probability.
        pixels: Number of pixels.
        different: Number of those with another class.
    """

    def __init__(self, num_classes: int, ignore_label: int):
        self.largest, self.pixels, self.different = 0.0, 0, 0
        self._ignore_label, self._num_classes = ignore_label, num_classes
        self._confusions = np.zeros([2, num_classes, num_classes], np.int64)

    @property
    def share(self) -> float:
        """Share of the pixels with another class, 0 .. 1."""
        return self.different / max(self.pixels, 1)

    @property
    def mean_ious(self) -> Sequence[float] | None:
        """The mean IoU of the file and of the network, 0 .. 1; None if no photo had a mask."""
        if not self._confusions.any():
            return None
        return [metrics.mean_iou(confusion) for confusion in self._confusions]

    def add(self, photo: RawPhoto, classes: np.ndarray, probabilities: np.ndarray, expected: np.ndarray) -> None:
        """Adds a photo.

        Args:
            photo: The photo.
            classes: Those of the file, [H, W].
            probabilities: Those of the file, [H, W, C].
            expected: Those of the network, [H, W, C].
        """
        differences = np.abs(probabilities - expected)
        # A NaN is no number that is below any limit.
        self.largest = max(self.largest, float(np.where(np.isfinite(differences), differences, np.inf).max()))
        by_network = expected.argmax(-1)
        self.pixels += classes.size
        self.different += int((classes != by_network).sum())
        if photo.label is not None:
            for total, prediction in zip(self._confusions, (classes, by_network), strict=True):
                total += metrics.confusion_matrix(
                    photo.label[None], prediction[None], self._num_classes, ignore_label=self._ignore_label
                ).numpy()
