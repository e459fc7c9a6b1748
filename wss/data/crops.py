"""Resized, rotated and blurred images of which only a crop is computed."""

from collections.abc import Callable, Sequence

import tensorflow as tf

BLUR_MARGIN = 2  # pixels beside one that its blurred value depends on


def crop(image: tf.Tensor, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Cuts [offset, offset + extent) out of an image [H, W, channels]."""
    return tf.slice(image, [offset[0], offset[1], 0], [extent[0], extent[1], -1])


def resize_crop(image: tf.Tensor, size: tf.Tensor, *, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Returns a crop of `tf.image.resize(image, size, antialias=True)`, whose other pixels are not computed.

    Args:
        image: [H, W, channels], uint8 or float32.
        size: int32 (height, width) of the whole resized image.
        offset: int32 (y, x) of the crop in it.
        extent: int32 (height, width) of the crop.

    Returns:
        float32 [*extent, channels].
    """
    shape = tf.shape(image)[:2]

    def shrunk() -> tf.Tensor:
        return tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=extent,
            scale=tf.cast(size, tf.float32) / tf.cast(shape, tf.float32),
            translation=-tf.cast(offset, tf.float32),
            kernel_type="triangle",
        )[0]

    def enlarged() -> tf.Tensor:
        # Nothing to smooth, and this kernel takes half the time; but it has no crop.
        first, last = tf.unstack(aligned_range(shape, size, offset=offset, extent=extent))
        part = crop(image, first * shape // size, (last - first) * shape // size)
        part = tf.raw_ops.ResizeBilinear(images=part[None], size=last - first, half_pixel_centers=True)[0]
        return crop(part, offset - first, extent)

    return tf.cond(tf.reduce_all(size >= shape), enlarged, shrunk)


def aligned_range(shape: tf.Tensor, size: tf.Tensor, *, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Returns the smallest part of an enlarged image around a crop that is the resized form of whole source pixels.

    Args:
        shape: int32 (H, W) of the source, at most `size`.
        size: See `resize_crop`.
        offset: See `resize_crop`.
        extent: See `resize_crop`.

    Returns:
        int32 [2, 2]: (y, x) of its beginning and of its end in the resized image. All source pixels between which the crop
        is interpolated lie in it.
    """
    ranges = []
    for axis in (0, 1):
        resized = size[axis]
        edges = tf.range(resized + 1)
        source = edges * shape[axis]  # position in 1 / resized of a source pixel
        whole = source % resized == 0
        begin, end = offset[axis] * shape[axis] - resized, (offset[axis] + extent[axis]) * shape[axis] + resized
        first = tf.reduce_max(tf.where(whole & (source <= begin), edges, 0))
        last = tf.reduce_min(tf.where(whole & (source >= end), edges, resized))
        ranges.append([first, last])
    return tf.transpose(ranges)


def nearest_sources(length: tf.Tensor, resized: tf.Tensor, align_corners: bool = False) -> tf.Tensor:
    """Returns which of `length` rows (or columns) each shows after resizing to the nearest neighbour, int32 [resized]."""
    numbers = tf.range(length)[None, :, None, None]
    nearest = tf.raw_ops.ResizeNearestNeighbor(
        images=numbers, size=[resized, 1], align_corners=align_corners, half_pixel_centers=not align_corners
    )
    return tf.reshape(nearest, [-1])


def rotate_crop(
    crop_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    size: tf.Tensor,
    *,
    angle: tf.Tensor,
    offset: tf.Tensor,
    extent: tf.Tensor,
    interpolation: str,
    fill: Sequence[float] | float,
) -> tf.Tensor:
    """Returns a crop of an image after a rotation, from the part of the image that it shows.

    The image keeps its size and turns about (height / 2, width / 2), where (0, 0) is the middle of the first pixel. So do
    OpenCV's getRotationMatrix2D and warpAffine with this centre.

    Args:
        crop_of: Function from an (offset, extent) of the image to its crop [h, w, channels].
        size: int32 (height, width) of the image.
        angle: float32 [] in radians, counter-clockwise.
        offset: int32 (y, x) of the crop in the rotated image.
        extent: int32 (height, width) of the crop.
        interpolation: "NEAREST" or "BILINEAR".
        fill: The pixel outside of the image.
    """
    center, (cosine, sine) = tf.cast(size, tf.float32) / 2, (tf.cos(angle), tf.sin(angle))
    back = tf.stack([[cosine, sine], [-sine, cosine]])  # of (y, x)
    first = tf.cast(offset, tf.float32) - center
    last = first + tf.cast(extent - 1, tf.float32)
    lowest = center + tf.reduce_sum(tf.minimum(back * first, back * last), 1)
    highest = center + tf.reduce_sum(tf.maximum(back * first, back * last), 1)
    # At least one pixel, though the crop may lie in a corner that shows none.
    begin = tf.clip_by_value(tf.cast(tf.floor(lowest), tf.int32), 0, size - 1)
    end = tf.clip_by_value(tf.cast(tf.math.ceil(highest), tf.int32) + 1, begin + 1, size)
    pixels = crop_of(begin, end - begin)

    def rotated() -> tf.Tensor:
        y, x = tf.unstack(center + tf.linalg.matvec(back, first) - tf.cast(begin, tf.float32))
        shown = tf.raw_ops.ImageProjectiveTransformV3(
            images=(pixels - fill)[None],
            transforms=[[cosine, -sine, x, sine, cosine, y, 0.0, 0.0]],
            output_shape=extent,
            fill_value=0.0,  # one for all channels
            interpolation=interpolation,
            fill_mode="CONSTANT",
        )
        return shown[0] + fill

    return tf.cond(angle != 0, rotated, lambda: pixels)


def blur_crop(image: tf.Tensor, size: tf.Tensor, *, offset: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Returns a crop of the image after a Gaussian blur of 5x5 pixels, [1, 4, 6, 4, 1] / 16 along each axis.

    Source: OpenCV's GaussianBlur((5, 5), 0), border included. Without a sigma its getGaussianKernel takes this row from a
    table for up to 7 pixels. Its documentation tells of a Gaussian of sigma 1.1.

    Args:
        image: float32 [h, w, channels], the crop with `with_margin` around it.
        size: int32 (height, width) of the whole image, 3 pixels or more each.
        offset: int32 (y, x) of the crop in it.
        extent: int32 (height, width) of the crop.
    """
    outer, reach = with_margin(size, offset, extent, margin=BLUR_MARGIN)
    missing = tf.stack([outer - offset, (offset + extent) - (outer + reach)], axis=1) + BLUR_MARGIN
    image = tf.pad(image, tf.concat([missing, [[0, 0]]], 0), "REFLECT")
    channels = tf.shape(image)[-1]
    height, width = extent[0], extent[1] * channels
    # Of rows in one piece the sum takes a tenth of the time of a depthwise convolution.
    rows = tf.reshape(image, [height + 2 * BLUR_MARGIN, -1])
    rows = _binomial([rows[shift : shift + height] for shift in range(5)])
    rows = _binomial([rows[:, shift * channels : shift * channels + width] for shift in range(5)])
    return tf.reshape(rows, [height, extent[1], channels])


def _binomial(shifted: list[tf.Tensor]) -> tf.Tensor:
    a, b, c, d, e = shifted
    return ((a + e) + 4.0 * (b + d) + 6.0 * c) / 16.0


def with_margin(
    size: tf.Tensor, offset: tf.Tensor, extent: tf.Tensor, *, margin: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns offset and extent of a crop with `margin` pixels around it, as far as the image of int32 `size` goes."""
    begin = tf.maximum(offset - margin, 0)
    return begin, tf.minimum(offset + extent + margin, size) - begin
