"""The streams of a training batch, and what a method may ask of each.

"labeled" and "pseudo" have masks, true or pseudo ones; "unlabeled" images may have none. A batch is a dict by stream of
dicts of tensors of one replica:

    image ("labeled", "pseudo") or weak ("unlabeled"): float32 [B, H, W, 3] in 0 .. 255, the weak view.
    label: int32 [B, H, W, 1] of the weak view, with the data set's ignore label; of "unlabeled" for monitoring.
    valid: float32 [B, H, W, 1], 0 on padding and in the CutOut hole of the strong view.
    image_label: float32 [B, K] in {0, 1}, the image-level classes.
    image_label_known ("unlabeled", or without `Views.masks`): float32 [B] in {0, 1}.
    not_padding ("unlabeled", or with strong views): float32 [B, H, W, 1], 0 on padding only.

With `Views.strong` = n > 0:
    strong, strong_2 ... strong_n: float32 [B, H, W, 3], strong views with the weak view's geometry.
    valid_2 ... valid_n: as valid, with the CutOut hole of that strong view.

With `Views.again`: all of the above once more, of the same image by draws of its own, as again/<name>.

With `Views.boxes` = N > 0:
    boxes: float32 [B, N, 4], edges (ymin, xmin, ymax, xmax) in pixels of the view; 0 past the count.
    box_labels: int32 [B, N], class ids; -1 past the count.
    box_count: int32 [B], the number of boxes in the view.
    outside_boxes: float32 [B, H, W, 1], 1 on pixels outside of all boxes of the image, those included that the view has no
        room for, crowds and tiny ones; 0 on padding and in the corners that a rotation leaves.

With `Views.second_mask`:
    second_label: int32 [B, H, W, 1], a second mask of the same image, with the ignore label where there is none.

That is what a method sees. A pipeline hands over what has 8 bits as uint8, a quarter of the bytes to copy and to send to a
device: images are rounded, by half a grey level at most; `unpacked` makes the above of it there.
"""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

STREAMS = ("labeled", "unlabeled", "pseudo")


@dataclasses.dataclass(frozen=True)
class Views:
    """The views that a method asks of a stream besides the weak one.

    Attributes:
        strong: Number of strong views.
        again: Whether the views of an unlabelled image are drawn a second time.
        boxes: Number of boxes that a view has at most, the largest ones; 0 reads no boxes. The objects of every image must
            be known.
        second_mask: Whether a second mask is read.
        image_labels: Whether the images need image-level labels, or masks that tell them.
        masks: Whether every image needs a mask.
    """

    strong: int = 0
    again: bool = False
    boxes: int = 0
    second_mask: bool = False
    image_labels: bool = False
    masks: bool = True


MASKS = Views()
NO_MASKS = Views(masks=False)


def unpacked(batch: Mapping[str, Mapping[str, tf.Tensor]]) -> dict[str, dict[str, tf.Tensor]]:
    """Returns a batch of `TrainingData.batches` as a method sees it: of uint8, labels become int32 and all else float32."""

    def full(name: str, value: tf.Tensor) -> tf.Tensor:
        if value.dtype != tf.uint8:
            return value
        return tf.cast(value, tf.int32 if name.endswith("label") else tf.float32)

    return {stream: {name: full(name, value) for name, value in views.items()} for stream, views in batch.items()}
