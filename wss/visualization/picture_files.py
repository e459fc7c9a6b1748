"""Writing pictures whole or not at all."""

import io
import os

import numpy as np
from etils import epath
from PIL import Image

from wss.files import WriteError, whole


def save_png(path: str | os.PathLike, array: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] or [H, W] as a PNG, see `write_picture`."""
    encoded = io.BytesIO()
    Image.fromarray(array).save(encoded, format="PNG")
    write_picture(path, encoded.getvalue())


def write_picture(path: str | os.PathLike, encoded: bytes) -> None:
    """Writes an encoded picture, whole or not at all; makes its folder.

    Raises:
        WriteError: The file cannot be written.
    """
    file = epath.Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as temporary:
            temporary.write_bytes(encoded)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error
