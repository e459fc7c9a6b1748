"""The network of a box classifier, open to label photos: what `BoxMasks` needs of it, at the photo's size."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from wss.data.boxes import Box, listed
from wss.data.padding import pad
from wss.errors import UserError
from wss.methods.bap_nal.box_classification import BoxClassification
from wss.methods.bap_nal.box_masks import BoxMasks, Places, places_of, shares_of
from wss.methods.bap_nal.upsampling import Interpolation, interpolation
from wss.models.deeplab import NetworkSettings
from wss.ops.dense_crf import CRFSettings
from wss.pseudo_labels.teacher import Teacher

STRIP_PIXELS = 2**18


class Seen(NamedTuple):
    """What the network saw of a photo.

    Attributes:
        image: uint8 [H, W, 3].
        places: Its boxes.
        features: float32 [h, w, D].
        to_photo: The interpolation of the features to the photo.
    """

    image: np.ndarray
    places: Places
    features: tf.Tensor
    to_photo: Interpolation


class BoxLabeler:
    """A box classifier that labels photos one after the other, so that none depends on another.

    What is of the photo's size is computed in strips of rows, so that large photos take little memory.

    Args:
        teacher: An open run of `BoxClassification`.

    Attributes:
        settings: How masks are made of what the network says.
        crf: The parameters of the CRF.

    Raises:
        UserError: The run is of another method.
    """

    def __init__(self, teacher: Teacher):
        if not isinstance(teacher.run.method, BoxClassification):
            raise UserError(
                f"--run_dir={teacher.description.run_dir}: a run of {type(teacher.run.method).__name__}; --policy=boxes "
                "needs one of BoxClassification"
            )
        self.settings, self.crf = BoxMasks(), CRFSettings()
        self._network, self._resize = teacher.run.model, teacher.resize
        self._padding = self._network.padding
        if not self._padding.strict:  # of the output stride, not always 16
            self._padding = dataclasses.replace(self._padding, multiple=NetworkSettings().output_stride)
        self._kernel = tf.constant(self._network.branches.kernel.numpy())
        # For any size, so that photos are not compiled one by one.
        compiled = functools.partial(tf.function, reduce_retracing=True)
        self._features = compiled(self._features_of, [tf.TensorSpec([None, None, 3])])
        self._interpolation = compiled(interpolation)
        self._scores, self._shares = compiled(self._strip_scores), compiled(self._strip_shares)
        self._vectors, self._nearest = compiled(self.settings.retrieval_vectors), compiled(self._strip_nearest)

    def see(self, image: np.ndarray, boxes: list[Box]) -> tuple[Seen, np.ndarray]:
        """Returns what the network makes of a photo, uint8 [H, W, 3], with boxes in its pixels.

        The second is what `BoxMasks.probabilities` returns, float32 [H, W, 1 + K].
        """
        places = places_of(boxes, image.shape[:2])
        view, padding = self._view(image), self._padding
        padded = pad(view, padding.size(tuple(view.shape[:2])), padding.color)
        features = self._features(padded)
        to_photo = Interpolation(
            *self._interpolation(
                _size(image), network_size=_size(view), padded_size=_size(padded), map_size=_size(features)
            )
        )
        background = to_photo.sampled(tf.constant(places.outside, tf.float32))[..., None]
        kernel, scores = self._kernel_of(places), np.empty(places.allowed.shape, np.float32)
        for first, last in strips(image.shape[:2]):
            scores[first:last] = self._scores(features, kernel, background, *to_photo.strip(first, last))
        return Seen(image, places, features, to_photo), self.settings.probabilities(scores, places)

    def retrieve(self, seen: Seen, mask: np.ndarray) -> np.ndarray:
        """Returns Y_ret for what `see` returned and Y_crf, both in numbers 0 .. K of the photo's classes, uint8 [H, W]."""
        places, kernel = seen.places, self._kernel_of(seen.places)
        known = np.where(places.unknown, np.uint8(255), mask)
        parts = strips(mask.shape)
        found = [self._shares(known[first:last], kernel, *seen.to_photo.strip(first, last)) for first, last in parts]
        shares, counts = (tf.add_n(list(part)) for part in zip(*found, strict=True))
        vectors = self._vectors(seen.features, kernel, shares=shares, counts=counts)
        retrieved = np.empty_like(mask)
        for first, last in parts:
            strip = seen.to_photo.strip(first, last)
            retrieved[first:last] = self._nearest(seen.features, vectors, places.allowed[first:last], *strip)
        return retrieved

    def _kernel_of(self, places: Places) -> tf.Tensor:
        return tf.gather(self._kernel, places.classes, axis=1)

    def _view(self, image: np.ndarray) -> tf.Tensor:
        """Returns a photo as the network sees it, float32 [h, w, 3]."""
        height, width = self._resize.size_of(image.shape[:2])
        limit = self.settings.largest_side
        if limit is None or max(height, width) <= limit:
            return tf.cast(self._resize.image(image), tf.float32)
        size = tf.constant([min(side, max(2, round(side * limit / max(height, width)))) for side in (height, width)])
        scale = tf.cast(tf.maximum(size, 2) - 1, tf.float32) / tf.cast(tf.maximum(image.shape[:2], 2) - 1, tf.float32)
        with tf.device("CPU:0"):
            return tf.raw_ops.ScaleAndTranslate(
                images=image[None], size=size, scale=scale, translation=(1 - scale) / 2, kernel_type="triangle"
            )[0]

    def _features_of(self, image: tf.Tensor) -> tf.Tensor:
        """Returns the features [h, w, D] of an image [H, W, 3]."""
        return tf.cast(self._network.features(image[None])["cam_features"][0], tf.float32)

    def _strip_scores(
        self, features: tf.Tensor, kernel: tf.Tensor, background: tf.Tensor, *strip: tf.Tensor
    ) -> tf.Tensor:
        return self.settings.scores(features, kernel, background, to_photo=Interpolation(*strip))

    def _strip_shares(self, mask: tf.Tensor, kernel: tf.Tensor, *strip: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return shares_of(mask, tf.shape(kernel)[-1], Interpolation(*strip))

    def _strip_nearest(
        self, features: tf.Tensor, vectors: tf.Tensor, allowed: tf.Tensor, *strip: tf.Tensor
    ) -> tf.Tensor:
        return self.settings.retrieved_mask(features, vectors, allowed=allowed, to_photo=Interpolation(*strip))


def strips(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the first and the last row, exclusive, of strips of a photo of a (height, width)."""
    rows = max(1, STRIP_PIXELS // size[1])
    return [(first, min(first + rows, size[0])) for first in range(0, size[0], rows)]


def boxes_in(objects: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Box]:
    """Returns what `parse_boxes` found in an image of a (height, width), in its pixels."""
    height, width = size
    # Stored as parts of the sides in float32; a thousandth of a pixel is more than that loses.
    y, x = (lambda edge: round(edge * height, 3)), (lambda edge: round(edge * width, 3))
    return [
        Box(label, y(ymin), x(xmin), y(ymax), x(xmax), is_crowd=is_crowd)
        for (ymin, xmin, ymax, xmax), label, is_crowd in listed(objects)
    ]


def _size(pixels: np.ndarray | tf.Tensor) -> tf.Tensor:
    return tf.constant(tuple(pixels.shape[:2]), tf.int32)
