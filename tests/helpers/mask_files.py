"""Photos and masks as tools write them, for the converters: a mask of 40 x 60 pixels, stored in any way."""

import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from wss.data.dataset_info import DatasetInfo
from wss.data.record_index import read_index

HEIGHT, WIDTH = 40, 60
MASK = np.zeros([HEIGHT, WIDTH], np.uint8)
MASK[:, :15], MASK[:, 15:20] = 1, 2
TRUTH = {0: 1600, 1: 600, 2: 200}
COLORS = np.array([(0, 0, 0), (128, 64, 128), (107, 142, 35)], np.uint8)
CLASSES = "background 0 0 0\nroad 128 64 128\ntree 107 142 35\n"
RAMP = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))


def photo(seed: int = 0) -> Image.Image:
    """Returns noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, [HEIGHT, WIDTH, 3], dtype=np.uint8))


def palette_mask(mask: np.ndarray, colors: np.ndarray) -> Image.Image:
    """Returns a palette image of values and their colours."""
    image = Image.fromarray(mask, mode="P")
    image.putpalette(colors.tobytes())
    return image


def chunk(kind: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows: list[bytes], width: int, *, bits: int, color_type: int = 0) -> bytes:
    """Returns a PNG of rows of packed samples, as other programs write it."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def grey_png(mask: np.ndarray, bits: int) -> bytes:
    """Returns a grey PNG whose samples have 1, 2 or 4 bits and are the values."""
    per_byte = 8 // bits
    padded = np.pad(mask, [(0, 0), (0, -mask.shape[1] % per_byte)])
    shifts = np.arange(per_byte - 1, -1, -1) * bits
    packed = (padded.reshape(len(mask), -1, per_byte) << shifts).sum(-1).astype(np.uint8)
    return png([row.tobytes() for row in packed], mask.shape[1], bits=bits)


class OwnFolders:
    """Folders of photos and masks, and the converter that reads them.

    Args:
        root: Folder of all.
        run_script: The fixture.
    """

    def __init__(self, root: Path, run_script: Callable[..., None]):
        self.root, self.images, self.masks = root, root / "images", root / "masks"
        self._run = run_script
        self.images.mkdir()
        self.masks.mkdir()

    def add(self, name: str = "a", mask: Image.Image | bytes | None = None, **options) -> None:
        """Adds a photo with a mask, which by default has the class ids."""
        photo().save(self.images / f"{name}.jpg")
        self.add_mask(name, Image.fromarray(MASK) if mask is None else mask, **options)

    def add_mask(self, name: str, mask: Image.Image | bytes, **options) -> None:
        """Adds a mask, an image or the content of a file; `options` are those of `Image.save`."""
        path = self.masks / f"{name}.png"
        path.write_bytes(mask) if isinstance(mask, bytes) else mask.save(path, **options)

    def build(self, classes: str | bytes = "a,b,c", *flags: str, file: str = "classes.txt") -> DatasetInfo:
        """Converts; `classes` are names separated by commas, or the content of the class file if it has lines."""
        if isinstance(classes, bytes) or "\n" in classes or file != "classes.txt":
            content = classes if isinstance(classes, bytes) else classes.encode()
            (self.root / file).write_bytes(content)
            classes = str(self.root / file)
        given = [f"--images={self.images}", f"--masks={self.masks}", f"--class_names={classes}", "--val_fraction=0"]
        self._run("build_folder", *given, f"--output_dir={self.root / 'out'}", "--overwrite", *flags)
        return DatasetInfo.load(self.root / "out")

    def pixels(self) -> dict[int, int]:
        """Returns the pixels of each class in what was built."""
        found: Counter[int] = Counter()
        for path in sorted((self.root / "out").glob("*.tfrecord")):
            for entry in read_index(path):
                found.update(entry.pixels or {})
        return dict(sorted(found.items()))
