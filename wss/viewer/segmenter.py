"""One photo at a time through a trained network, with what a viewer of it wants to see."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from wss.data.masks import check_masks_hold
from wss.data.photos import ValueRange, read_photo
from wss.data.resize import ResizeToRange
from wss.experiment import OpenRun
from wss.inference.photos import as_seen, padded_alone
from wss.inference.prediction import label_at_size, predict_and_explain, to_image_size
from wss.ops.dense_crf import CRFSettings
from wss.visualization.overlays import colorize, example_columns, heatmap, overlay, to_uint8
from wss.visualization.panels import shown


@dataclasses.dataclass(frozen=True, eq=False)
class Segmented:
    """A photo and what a network says of it.

    Attributes:
        size: Its own (height, width).
        mask: Class ids, uint8 [H, W], at its own size.
        shares: Share of its pixels that each class has, 0 .. 1, in the order of the classes.
        confidence: Mean probability of the class that a pixel is given, 0 .. 1.
        pictures: Titles and pictures uint8 [h, w, 3], as the network sees the photo: itself, the overlay, the colours of
            the mask, the confidence of each pixel, and the maps of the method.
    """

    size: tuple[int, int]
    mask: np.ndarray
    shares: Sequence[float]
    confidence: float
    pictures: Sequence[tuple[str, np.ndarray]]


class Segmenter:
    """A run that segments photos.

    Args:
        run: The run.
        max_side: Longest side in pixels where no `ResizeToRange` says the size; larger photos are reduced to it.
        value_range: Values of black and white in photos of more than 8 bits, see `read_photo`.
        crf: Parameters of a dense CRF that refines predictions; None without one.

    Raises:
        UserError: There are more classes than a mask has values.
    """

    def __init__(
        self, run: OpenRun, *, max_side: int, value_range: ValueRange | None = None, crf: CRFSettings | None = None
    ):
        check_masks_hold(run.info.num_classes, run.info.directory or run.info.name)
        self.run, self._max_side, self._value_range = run, max_side, value_range
        self._crf, self._resize = crf, ResizeToRange()

    def __call__(self, path: Path) -> Segmented:
        """Segments the photo of a file.

        Raises:
            UserError: It is no photo that can be read.
        """
        photo = read_photo(path, value_range=self._value_range)
        own_size = photo.height, photo.width
        image = as_seen(photo, self._resize, self._max_side)
        height, width = image.shape[:2]
        padded = padded_alone(image, self.run.model.padding)
        # Not traced: that would take seconds for every new size of a photo.
        probabilities, maps = predict_and_explain(
            self.run.model, self.run.method, tf.constant(padded), tf.constant([[height, width]]), crf=self._crf
        )
        probabilities = probabilities[0, :height, :width].numpy()
        prediction, confidence = probabilities.argmax(-1), probabilities.max(-1)
        columns = example_columns(
            image,
            self.run.info,
            maps=[
                (one.title, to_image_size(shown(one)[0].numpy(), padded.shape[1:3])[:height, :width])
                for one in maps
                if one.kind in ("heat", "probabilities")
            ],
        )
        mask = label_at_size(prediction.astype(np.uint8), own_size)
        shares = np.bincount(mask.ravel(), minlength=self.run.info.num_classes) / mask.size
        pictures = [
            ("photo", to_uint8(image)),
            ("overlay", overlay(image, prediction, self.run.info)),
            ("mask", colorize(prediction, self.run.info)),
            ("confidence", heatmap(confidence)),
            *columns[1:],
        ]
        return Segmented(own_size, mask, shares.tolist(), float(confidence.mean()), pictures)
