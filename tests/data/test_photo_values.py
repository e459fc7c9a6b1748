"""Photos of more than 8 bits, of odd kinds and of bad intent: the same for conversion and for prediction."""

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from mask_files import RAMP, chunk, photo, png
from PIL import Image

from wss.conversion.encode import encode_photo
from wss.data.image_files import MAX_PIXELS
from wss.data.photos import parse_value_range, photo_size, read_photo
from wss.errors import UserError

BYTES = np.floor(RAMP * 255.999)


def both(path: Path, value_range=None) -> np.ndarray:
    """Returns a photo as the network sees it, which conversion and prediction must agree on."""
    seen = np.asarray(read_photo(path, value_range=value_range))
    encoded, _ = encode_photo(path, path.name, value_range)
    decoded = tf.io.decode_image(encoded.content, channels=3, expand_animations=False).numpy()
    np.testing.assert_array_equal(decoded, seen)
    assert photo_size(path) == seen.shape[:2] == encoded.size
    return seen


def refused(path: Path, *, header: bool = True) -> str:
    """Returns the one line that all readers refuse a file with."""
    readers = [read_photo, lambda path: encode_photo(path, path.name), *([photo_size] if header else [])]
    messages = []
    for reader in readers:
        with pytest.raises(UserError) as error:
            reader(path)
        messages.append(str(error.value))
    assert all("\n" not in message and message.startswith(str(path)) for message in messages)
    return messages[0]


def save_deep(path: Path, scale: float, channels: int = 1) -> None:
    values = np.repeat((RAMP * scale)[..., None], channels, axis=2).astype(">u2")
    color_type = {1: 0, 3: 2}[channels]
    path.write_bytes(png([row.tobytes() for row in values], values.shape[1], bits=16, color_type=color_type))


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_that_use_their_range_keep_the_upper_8(channels, tmp_path):
    save_deep(tmp_path / "a.png", 65535, channels)
    np.testing.assert_allclose(both(tmp_path / "a.png")[..., 0], BYTES, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("largest", "bits"), [(1023, 10), (4095, 12), (16383, 14), (30000, 16)])
def test_fewer_bits_than_16_are_told_and_read_by_the_flag(largest, bits, channels, tmp_path):
    save_deep(tmp_path / "a.png", largest, channels)
    message = refused(tmp_path / "a.png", header=False)
    shown = f"at most {largest | 255}" if channels == 3 else largest
    assert f"whose largest value is {shown}, perhaps of {bits} bits" in message
    assert f"--value_range=0,{2**bits - 1}" in message
    np.testing.assert_allclose(both(tmp_path / "a.png", (0, largest))[..., 0], BYTES, atol=1)


@pytest.mark.parametrize(
    ("values", "value_range"),
    [(RAMP.astype(np.float32), (0, 1)), ((RAMP * 1e5).astype(np.int32), (0, 1e5)), (-RAMP.astype(np.float32), (-1, 0))],
)
def test_other_numbers_need_the_flag(values, value_range, tmp_path):
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert "whose black and white are unknown; give both, such as --value_range=" in refused(
        tmp_path / "a.tif", header=False
    )
    expected = 255 - BYTES if value_range[0] else BYTES
    np.testing.assert_allclose(both(tmp_path / "a.tif", value_range)[..., 1], expected, atol=1)


def test_a_range_that_does_not_fit_is_told(tmp_path):
    save_deep(tmp_path / "a.png", 4095)
    with pytest.raises(UserError, match="of 2400 values, 0 .. 4095, lie outside of --value_range=0,1023"):
        read_photo(tmp_path / "a.png", value_range=(0, 1023))
    values = RAMP.astype(np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="values that are no finite numbers"):
        read_photo(tmp_path / "a.tif", value_range=(0, 1))


def test_8_bits_do_not_care_for_the_range(tmp_path):
    photo().save(tmp_path / "a.png")
    np.testing.assert_array_equal(both(tmp_path / "a.png", (0, 4095)), np.asarray(photo()))
    assert encode_photo(tmp_path / "a.png", "a", (0, 4095))[0].content == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("text", ["5", "1,0", "0,0", "a,b", "0,nan", "0,inf", "0,1,2"])
def test_ranges_are_two_numbers(text):
    with pytest.raises(UserError, match=f"--value_range={text}: expected the values of black and white"):
        parse_value_range(text)
    assert parse_value_range("0,4095") == (0, 4095) and parse_value_range(None) is None


@pytest.mark.parametrize("orientation", [3, 6])
def test_16_bit_photos_are_turned_too(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(BYTES, {3: 2, 6: -1}[orientation])
    np.testing.assert_allclose(both(tmp_path / "a.png")[..., 0], expected, atol=1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\nshowpage\n",
            "not an image of these formats but PostScript",
        ),
        (b"GIF89a" + bytes(50), "not an image of these formats but a GIF"),
        (b"%PDF-1.4\n", "not an image of these formats but a PDF"),
        (b"8BPS" + bytes(50), "not an image of these formats but a Photoshop file"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "not an image of these formats but a HEIC photo"),
        (b"<!DOCTYPE html><html>", "not an image of these formats but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; `git lfs pull` gets the file"),
        (b"nothing", "not an image; expected"),
        (b"", "empty file"),
    ],
)
def test_contents_that_belie_the_name_are_named(content, expected, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    assert expected in refused(tmp_path / "a.jpg", header=bool(content))


def test_no_format_is_opened_that_is_not_named(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    buffer = io.BytesIO()
    photo().save(buffer, "EPS")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert "PostScript" in refused(tmp_path / "a.jpg")


@pytest.mark.parametrize(("width", "height"), [(14000, 13500), (13000, 13000), (70000, 1), (2**31 - 1, 2**31 - 1)])
def test_sizes_are_checked_before_anything_is_decoded(width, height, tmp_path):
    content = png([b""], width, bits=8)
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + content[24:29]
    (tmp_path / "a.png").write_bytes(content[:8] + chunk(b"IHDR", header) + content[33:])
    message = refused(tmp_path / "a.png")
    assert "megapixels, more than allowed" in message and "broken" not in message
    assert width * height > MAX_PIXELS or width > 65535


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (40, 1)])
def test_photos_may_be_a_pixel_high_or_wide(shape, tmp_path):
    Image.fromarray(np.full([*shape, 3], 7, np.uint8)).save(tmp_path / "a.png")
    assert both(tmp_path / "a.png").shape == (*shape, 3)


@pytest.mark.parametrize("suffix", [".webp", ".tif", ".png"])
def test_pages_and_animations_are_refused(suffix, tmp_path):
    photo().save(tmp_path / f"a{suffix}", save_all=True, append_images=[photo(1)])
    assert "has 2 pages or frames; expected a single image" in refused(tmp_path / f"a{suffix}")


def test_previews_in_a_tiff_are_no_pages(tmp_path):
    first, preview = photo(), photo(1).resize((6, 4))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "a.tif", save_all=True, append_images=[preview])
    if Image.open(tmp_path / "a.tif").n_frames == 2:
        np.testing.assert_array_equal(np.asarray(read_photo(tmp_path / "a.tif")), np.asarray(first))


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_bombs_in_chunks_are_one_line(kind, tmp_path):
    buffer = io.BytesIO()
    photo().save(buffer, "PNG")
    content, bomb = buffer.getvalue(), zlib.compress(bytes(20_000_000), 9)
    (tmp_path / "a.png").write_bytes(content[:33] + chunk(kind, b"x\0\0" + bomb) + content[33:])
    assert "broken image (Decompressed data too large" in refused(tmp_path / "a.png")


def test_pipes_devices_and_folders_are_told(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    os.symlink("/dev/zero", tmp_path / "b.jpg")
    (tmp_path / "c.jpg").mkdir()
    for name, expected in {"a": "a pipe, socket or device", "b": "a pipe, socket or device", "c": "a folder"}.items():
        assert expected in refused(tmp_path / f"{name}.jpg")
