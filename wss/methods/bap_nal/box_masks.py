"""Stage 2 of BAP: two masks of a photo, from its boxes and the features of the box classifier.

Y_crf are the scores of background and classes after a dense CRF. Y_ret compares each pixel with the mean features of Y_crf.
Source: Oh et al., CVPR 2021, Eqs. 5 to 9.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import gin
import numpy as np
import tensorflow as tf

from wss.data.boxes import Box
from wss.methods.bap_nal.background import background_queries
from wss.methods.bap_nal.upsampling import Interpolation, cosines
from wss.models.layers.classifier import unit_vectors
from wss.parameter_ranges import in_ranges
from wss.ranges import LARGEST_SIDE, Integer, Number, OneOf, OrNone, Switch

RESOLUTIONS = ("image", "features")
EPSILON = 1e-12
BACKGROUND = 0


@gin.configurable
@in_ranges(
    "BoxMasks",
    grid=Integer(1, 64),
    use_attention=Switch(),
    background_threshold=Number(minimum=0, maximum=1),
    use_crf=Switch(),
    largest_side=OrNone(Integer(32, LARGEST_SIDE)),
    retrieval_resolution=OneOf(RESOLUTIONS),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxMasks:
    """The settings of the masks.

    Attributes:
        grid: See `background_queries`; 1 in the paper.
        use_attention: Whether u_0 is the attention to the background; False takes the background's own class map instead
            (the paper's row "without u_0").
        background_threshold: Part of the photo's largest attention below which u_0 is 0, as in the authors' code; 0 keeps
            all, as the paper writes.
        use_crf: Whether the CRF refines the scores.
        largest_side: Longer side of a photo, in pixels, above which the network sees it smaller; None for no limit. Masks
            always have the photo's own size.
        retrieval_resolution: Where pixels are compared for Y_ret: interpolated features at the size of the "image", as the
            authors do, or the "features" themselves, whose cosines are interpolated.
    """

    grid: int = 1
    use_attention: bool = True
    background_threshold: float = 0.99
    use_crf: bool = True
    largest_side: int | None = 768
    retrieval_resolution: str = "image"

    def scores(
        self, features: tf.Tensor, kernel: tf.Tensor, background: tf.Tensor, *, to_photo: Interpolation
    ) -> tf.Tensor:
        """Returns attention and class maps of a photo, float32 [H, W, 1 + K]; 0 or more.

        Args:
            features: float32 [h, w, D].
            kernel: float32 [D, 1 + K], the classifier's weights of the background and of the K classes of the photo.
            background: float32 [h, w, 1], 1 outside of all boxes.
            to_photo: The interpolation to [H, W].
        """
        maps = tf.nn.relu(to_photo(tf.einsum("ijd,dk->ijk", features, kernel)))
        if not self.use_attention:
            return maps
        queries = background_queries(features[None], background[None], self.grid)
        vectors, valid = queries.vectors[0], tf.cast(queries.valid[0], tf.float32)
        attention = tf.nn.relu(cosines(features, vectors, to_photo)) * valid
        attention = tf.math.divide_no_nan(tf.reduce_sum(attention, -1, keepdims=True), tf.reduce_sum(valid))
        return tf.concat([attention, maps[..., 1:]], -1)

    def probabilities(self, scores: np.ndarray, places: "Places") -> np.ndarray:
        """Returns the softmax over background and classes, float32 [H, W, 1 + K] (Eqs. 5 to 7).

        Inside the boxes the scores of a class are divided by the largest of their box; where boxes of a class overlap, the
        later one counts. Outside of all boxes the background is certain.

        Args:
            scores: float32 [H, W, 1 + K], see `scores`; it becomes the result, for it may be large.
            places: The boxes.
        """
        background = scores[..., 0]
        largest = background.max()
        if self.use_attention:
            background[background < self.background_threshold * largest] = 0
        else:
            background /= max(largest, EPSILON)
        for number in range(1, scores.shape[-1]):
            plane = scores[..., number].copy()
            scores[..., number] = 0
            for rows, columns in (box[:2] for box in places.boxes if box[2] == number):
                inside = plane[rows, columns]
                scores[rows, columns, number] = inside / max(inside.max(), EPSILON)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        scores[places.outside] = 0
        scores[places.outside, 0] = 1
        return scores

    def retrieval_vectors(
        self, features: tf.Tensor, kernel: tf.Tensor, *, shares: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        """Returns the mean features of each class in Y_crf, float32 [1 + K, D] (Eq. 8).

        Args:
            features: float32 [h, w, D].
            kernel: float32 [D, 1 + K], which stands for a class without a pixel in Y_crf.
            shares: See `shares_of`.
            counts: See `shares_of`.
        """
        means = tf.math.divide_no_nan(tf.einsum("ijk,ijd->kd", shares, features), counts[:, None])
        return tf.where(counts[:, None] > 0, means, tf.transpose(kernel))

    def retrieved_mask(
        self, features: tf.Tensor, vectors: tf.Tensor, *, allowed: tf.Tensor, to_photo: Interpolation
    ) -> tf.Tensor:
        """Returns Y_ret, numbers 0 .. K, uint8 [H, W]: the class whose mean is nearest (Eq. 9).

        Args:
            features: float32 [h, w, D].
            vectors: See `retrieval_vectors`.
            allowed: bool [H, W, 1 + K], where a class may be; the background always.
            to_photo: The interpolation to [H, W], or to a strip of it.
        """
        if self.retrieval_resolution == "image":
            similar = cosines(features, vectors, to_photo)
        else:
            similar = to_photo(tf.einsum("ijd,kd->ijk", unit_vectors(features), unit_vectors(vectors)))
        similar = tf.where(allowed, tf.nn.relu(similar), -1.0)
        return tf.cast(tf.argmax(similar, -1, output_type=tf.int32), tf.uint8)


def shares_of(mask: tf.Tensor, number: tf.Tensor, to_photo: Interpolation) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the share of each pixel of the feature map in the classes of Y_crf, and the number of their pixels.

    Both are sums over the photo, so that those of its strips add up.

    Args:
        mask: Y_crf or a strip of it, uint8 [H, W]; 255 where nothing is known.
        number: Number of classes, 1 + K.
        to_photo: The interpolation to [H, W].

    Returns:
        float32 [h, w, 1 + K] and float32 [1 + K].
    """
    members = tf.one_hot(tf.cast(mask, tf.int32), number)
    return to_photo.transposed(members), tf.reduce_sum(members, (0, 1))


class Places(NamedTuple):
    """Where the boxes of a photo are.

    Attributes:
        boxes: Rows, columns and number of the class of each box, 1 .. K.
        classes: The K + 1 class ids in order, the background first.
        allowed: bool [H, W, K + 1], where each of them may be; the background everywhere.
        outside: bool [H, W], outside of all boxes.
        unknown: bool [H, W], in crowds alone: something is there, but not what.
    """

    boxes: list[tuple[slice, slice, int]]
    classes: tuple[int, ...]
    allowed: np.ndarray
    outside: np.ndarray
    unknown: np.ndarray


def places_of(boxes: Sequence[Box], size: tuple[int, int]) -> Places:
    """Returns where boxes in pixels of a photo of a (height, width) are; a pixel that a box touches is in it."""
    classes = (BACKGROUND, *sorted({box.label for box in boxes if not box.is_crowd}))
    allowed = np.zeros([*size, len(classes)], bool)
    allowed[..., 0] = True
    crowded = np.zeros(size, bool)
    found = []
    for box in boxes:
        rows, columns = (
            slice(max(int(np.floor(low)), 0), min(int(np.ceil(high)), side))
            for low, high, side in zip((box.ymin, box.xmin), (box.ymax, box.xmax), size, strict=True)
        )
        if box.is_crowd:
            crowded[rows, columns] = True
        elif rows.start < rows.stop and columns.start < columns.stop:
            number = classes.index(box.label)
            allowed[rows, columns, number] = True
            found.append((rows, columns, number))
    in_box = allowed[..., 1:].any(-1)
    return Places(found, classes, allowed, outside=~in_box & ~crowded, unknown=crowded & ~in_box)


def filled_boxes(places: Places) -> np.ndarray:
    """Returns the baseline: boxes as masks, the smaller over the larger, numbers 0 .. K, uint8 [H, W]."""
    area = lambda box: (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    mask = np.zeros(places.outside.shape, np.uint8)
    for rows, columns, number in sorted(places.boxes, key=area, reverse=True):
        mask[rows, columns] = number
    return mask
