"""Writing pictures whole or not at all."""

import io
import os

import numpy as np
from etils import epath
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.masks import color_table
from wss.files import whole, write_errors


def save_png(path: str | os.PathLike, array: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] or [H, W] as a PNG, see `write_picture`."""
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, format="PNG")
    write_picture(path, encoded.getvalue())


def save_index_png(path: str | os.PathLike, label: np.ndarray, info: DatasetInfo) -> None:
    """Writes class ids, uint8 [H, W], as a PNG with a palette, as PASCAL VOC's masks: of data and for the eye.

    Its mode is "P". Its values are the ids, its palette has the colours of the data set.
    """
    image, encoded = Image.fromarray(label), io.BytesIO()
    image.putpalette(color_table(info.colors, info.ignore_label).tobytes())
    image.save(encoded, format="PNG")
    write_picture(path, encoded.getvalue())


def write_picture(path: str | os.PathLike, encoded: bytes) -> None:
    """Writes an encoded picture, whole or not at all; makes its folder.

    Raises:
        WriteError: The file cannot be written.
    """
    with write_errors(path), whole(epath.Path(path)) as temporary:
        temporary.write_bytes(encoded)
