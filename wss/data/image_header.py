"""What the headers of encoded images declare: their sizes are known before anything is decoded.

Once for tf.data, as few operations as can be, which fail on what they cannot read; once with words for what is wrong.
"""

import struct

import tensorflow as tf

from wss.data.limits import MAX_PIXELS

# An IHDR chunk comes first: 13 bytes with width and height, bit depth and colour type, and three more.
_PNG_BEGINNING = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE, _KIND, _END = 16, 24, 26
_GREY_OF_8_BITS = b"\x08\x00"  # bit depth and colour type
# \C is any byte: what is no UTF-8 has no other name in RE2.
_INDEX_PNG_RE2 = r"\CPNG\r\n\x1a\n\x00\x00\x00\rIHDR\C{8}\x08\x00"


def declared_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the int32 (height, width) that a JPEG or PNG declares, in a tf.data pipeline; of other formats anything.

    Raises:
        tf.errors.OpError: It is too short, or the beginning of a JPEG without a size.
    """
    return tf.cond(
        tf.io.is_jpeg(encoded), lambda: tf.io.extract_jpeg_shape(encoded)[:2], lambda: declared_png_size(encoded)
    )


def declared_png_size(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the int32 (height, width) that a PNG declares, see `declared_size`; one of 2^31 or more is negative."""
    sides = tf.io.decode_raw(tf.strings.substr(encoded, _SIZE, _KIND - _SIZE), tf.int32, little_endian=False)
    return tf.ensure_shape(tf.reverse(sides, [0]), [2])


def is_index_png(encoded: tf.Tensor) -> tf.Tensor:
    """Returns whether something is a PNG with one channel of 8 bits, bool [].

    Other PNGs decode to other values than those that they store: palettes to brightness, fewer bits to multiples.
    """
    return tf.strings.regex_full_match(tf.strings.substr(encoded, 0, _END), _INDEX_PNG_RE2)


def is_within(size: tf.Tensor, max_size: tuple[int, int]) -> tf.Tensor:
    """Returns whether an int32 (height, width) is at most `max_size` and `MAX_PIXELS`, bool []."""
    within = tf.reduce_all(size <= max_size)
    if max_size[0] * max_size[1] <= MAX_PIXELS:
        return within
    # Sides are compared too, so a product that overflows does not matter.
    return within & (tf.reduce_prod(tf.cast(size, tf.int64)) <= MAX_PIXELS)


def size_of(encoded: bytes) -> tuple[int, int] | None:
    """Returns the (height, width) that a JPEG or PNG declares; None for anything else.

    Raises:
        tf.errors.OpError: It is the beginning of a JPEG without a size.
    """
    if encoded.startswith(b"\xff\xd8\xff"):
        height, width = tf.io.extract_jpeg_shape(tf.constant(encoded)).numpy().tolist()[:2]
        return height, width
    if len(encoded) < _END or not encoded.startswith(_PNG_BEGINNING):
        return None
    width, height = struct.unpack(">II", encoded[_SIZE:_KIND])
    return height, width


def is_index(encoded: bytes) -> bool:
    """Returns what `is_index_png` returns in a tf.data pipeline."""
    return encoded.startswith(_PNG_BEGINNING) and encoded[_KIND:_END] == _GREY_OF_8_BITS
