"""The one reader of photos: upright, 8-bit RGB, and of the size that the header tells; as conversion writes them."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from wss.conversion.encode import load_image
from wss.data.photos import SUFFIXES, photo_size, read_photo
from wss.errors import UserError

SIDEWAYS = 6  # EXIF orientation: turn by 90 degrees
GREY = np.linspace(0, 255, 16 * 24).reshape(16, 24).astype(np.uint8)
LOSSY = (".jpg", ".jpeg", ".webp", ".jfif", ".jpe")


def pixels_of(path) -> np.ndarray:
    return np.asarray(read_photo(path))


def converted(path) -> np.ndarray:
    return tf.io.decode_image(load_image(path, path.name)[0], channels=3, expand_animations=False).numpy()


MODES = {
    ".jpg": ("RGB", "L", "CMYK"),
    ".jpeg": ("RGB",),
    ".png": ("RGB", "L", "P", "RGBA", "1"),
    ".bmp": ("RGB", "L", "P", "1"),
    ".tif": ("RGB", "L", "P", "CMYK", "RGBA", "1"),
    ".tiff": ("RGB",),
    ".webp": ("RGB", "RGBA"),
    ".jfif": ("RGB",),
    ".jpe": ("L",),
}


def test_all_suffixes_are_tested():
    assert tuple(MODES) == SUFFIXES


@pytest.mark.parametrize("orientation", [1, SIDEWAYS])
@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes])
def test_photos_are_upright_rgb_of_the_size_in_the_header(tmp_path, suffix, mode, orientation):
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(GREY).convert(mode)
    image.save(path, exif=exif)
    expected = np.asarray(image.convert("RGB"))
    if orientation == SIDEWAYS and suffix != ".bmp":  # which has no EXIF data
        expected = np.rot90(expected, -1)
    photo = read_photo(path)
    assert photo.mode == "RGB" and photo_size(path) == photo.size[::-1] == expected.shape[:2]
    np.testing.assert_allclose(pixels_of(path), expected, atol=12 if suffix in LOSSY else 0)
    np.testing.assert_allclose(converted(path), pixels_of(path), atol=8 if suffix in LOSSY else 0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_of_16_bits_the_upper_8_stay(tmp_path, suffix):
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(GREY.astype(np.uint16) * 256 + 99).save(path)
    np.testing.assert_array_equal(pixels_of(path), np.repeat(GREY[..., None], 3, axis=-1))
    np.testing.assert_array_equal(converted(path), pixels_of(path))


def test_a_turned_16_bit_tiff_has_the_size_in_the_header(tmp_path):
    path, exif = tmp_path / "deep.tif", Image.Exif()
    exif[274] = SIDEWAYS
    Image.fromarray(GREY.astype(np.uint16) * 256).save(path, exif=exif)
    assert photo_size(path) == (24, 16)
    np.testing.assert_array_equal(pixels_of(path)[..., 0], np.rot90(GREY, -1))


@pytest.mark.parametrize("content", [None, b"", b"nothing"])
def test_what_is_no_photo_is_one_line_with_the_path(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for reader in (read_photo, photo_size):
        with pytest.raises(UserError, match="a.png: ") as caught:
            reader(path)
        assert "\n" not in str(caught.value)
