"""What a file format is, and what it gets to write."""

import dataclasses
import importlib.util
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from wss.errors import UserError

ABOUT = "wss.json"
# From photos uint8 [B, H, W, 3] to classes [B, H, W] and probabilities [B, H, W, C].
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a file takes.

    Attributes:
        size: (height, width) of all photos; None for any.
        batch: Number of photos of one call; None for any.
    """

    size: tuple[int, int] | None = None
    batch: int | None = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Export:
    """A network to write.

    Attributes:
        model: See `serving_model`.
        about: Facts about it as JSON, for who uses the file.
        calibration: Function that yields photos uint8 [H, W, 3], from whose activations an integer format takes ranges.
    """

    model: keras.Model
    about: str
    calibration: Callable[[], Iterator[np.ndarray]]

    @property
    def signature(self) -> tf.TensorSpec:
        """Shape and type of the photos."""
        return tf.TensorSpec(self.model.input.shape, tf.uint8, self.model.input.name)

    def function(self) -> tf.types.experimental.PolymorphicFunction:
        """Returns a function of photos for converters; they trace it inside of `convolutions_as_such`."""
        return tf.function(lambda photos: self.model(photos, training=False), input_signature=[self.signature])


@dataclasses.dataclass(frozen=True, eq=False)
class Format:
    """A file format.

    Attributes:
        name: Name that users write.
        file: Name of the file, or of the folder.
        limit: Largest share of pixels whose class may differ from the network's.
        largest: Largest difference of a probability from the network's.
        write: Function that writes a network to a path.
        open: Function that opens what was written, as a user of the file does.
        imports: Lines of Python that import what the example needs.
        example: Lines of Python that segment `photos` by FILE: they set `about`, `classes` and `probabilities`.
        packages: What users install for it, by the module that they import.
    """

    name: str
    file: str
    limit: float
    largest: float
    write: Callable[[Export, Path], None]
    open: Callable[[Path], Run]
    imports: Sequence[str]
    example: str
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def require(self) -> None:
        """Checks that its packages are installed.

        Raises:
            UserError: One is not.
        """
        missing = [package for module, package in self.packages.items() if importlib.util.find_spec(module) is None]
        if missing:
            raise UserError(
                f"--format={self.name}: needs {', '.join(missing)}, not installed; pip install 'wss[export]'"
            )


def add_about(path: Path, about: str, **files: str) -> None:
    """Adds facts to a file that is a ZIP archive, or behind one that is none; its readers take no notice.

    Args:
        path: The file.
        about: The facts, as JSON.
        **files: Texts of further files, by name without ".txt".
    """
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in {ABOUT: about, **{f"{name}.txt": text for name, text in files.items()}}.items():
            archive.writestr(name, text)
