"""Presets of keras-hub by name or folder: the architecture, the weights, and how images are normalised."""

import dataclasses
import json
import math
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras

from wss.errors import UserError, did_you_mean
from wss.files import reason_of, write_text
from wss.models.backbones.hub.architectures import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD

VISION_TRANSFORMERS = ("DINOV2Backbone", "DINOV3Backbone")
PYRAMIDS = ("ResNetBackbone", "HGNetV2Backbone")
KINDS = (*VISION_TRANSFORMERS, *PYRAMIDS)
_HERE = "build_model.encoder_preset: "
# Dropout and drop path, whose draws would not come from a run's seed; the published presets have 0 of all.
_WITHOUT = ("dropout_rate", "drop_path_rate", "attention_dropout")
_FILES = "expected a folder of save_to_preset with config.json, image_converter.json and the weights"
# A file, or an index of parts; Keras looks for the second where both are missing.
_WEIGHTS = ("model.weights.h5", "model.weights.json")
# Class, its arguments, scale and offset.
_Read: TypeAlias = tuple[str, dict[str, Any], tuple[float, float, float], tuple[float, float, float]]


@dataclasses.dataclass(frozen=True)
class Preset:
    """An encoder of keras-hub.

    Attributes:
        name: Name or folder, as users write it.
        class_name: Class in `keras_hub.models`.
        config: Arguments of that class, without dropout.
        scale: Factor of each channel of an image in 0 .. 255.
        offset: What is added to each channel after that.
        has_weights: Whether `backbone` loads the weights of the preset.
        folder: Absolute path, if it is a folder.
    """

    name: str
    class_name: str
    config: dict[str, Any]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    has_weights: bool
    folder: Path | None = None

    @property
    def source(self) -> str:
        """The folder, or the name where keras-hub downloads it."""
        return str(self.folder or self.name)

    @classmethod
    def of(cls, name: str, *, weights: bool = True) -> "Preset":
        """Finds a preset.

        Args:
            name: A folder, or a name that keras-hub downloads; a folder is taken first.
            weights: Whether its weights are wanted; without, nothing is downloaded.

        Raises:
            UserError: keras-hub is not installed, there is no such preset, or it is of an unknown kind.
        """
        models, folder = hub_models(), None
        if Path(name).is_dir():
            folder = Path(name).absolute()
            if name in _published():
                print(f"build_model.encoder_preset = {name!r}: the folder {folder} is taken", file=sys.stderr)
            class_name, config, scale, offset = _read(name, folder)
        elif "/" in name and "://" not in name:
            raise UserError(f"build_model.encoder_preset = {name!r}: no such folder; {_FILES}")
        elif weights:
            class_name, config, scale, offset = _downloaded(name)
        elif name in ARCHITECTURES:
            class_name, config = ARCHITECTURES[name]["class_name"], dict(ARCHITECTURES[name]["config"])
            scale, offset = _scale_and_offset(IMAGENET_MEAN, IMAGENET_STD)
        else:
            raise UserError(
                f"build_model.encoder_preset = {name!r}: its network is not known without its weights; expected one of "
                f"{', '.join(ARCHITECTURES)}, or a folder.{did_you_mean(name, ARCHITECTURES)}"
            )
        if not hasattr(models, class_name):
            raise UserError(
                f"build_model.encoder_preset = {name!r}: the installed keras-hub has no {class_name}; install the newest by "
                "pip install -U keras-hub"
            )
        return cls(name, class_name, without_dropout(config), scale, offset, weights, folder)

    @classmethod
    def kept(cls, folder: Path, name: str) -> "Preset":
        """Returns the encoder of a run, whose weights are the run's, so that the preset may be gone.

        Args:
            folder: The run's folder of `write`.
            name: Name or folder that users give now.

        Raises:
            UserError: `name` is a folder of another encoder, or `folder` is damaged.
        """
        kept = cls.of(str(folder), weights=False)
        if Path(name).is_dir():
            now = dataclasses.replace(cls.of(name, weights=False), name=kept.name, folder=kept.folder)
            if now != kept:
                raise UserError(
                    f"build_model.encoder_preset = {name!r} is another encoder than {folder}, with which the run was "
                    "trained; give that one, or another --run_dir"
                )
        return dataclasses.replace(kept, name=name)

    @property
    def is_vision_transformer(self) -> bool:
        """Whether it sees an image as patches."""
        return self.class_name in VISION_TRANSFORMERS

    def write(self, folder: Path) -> None:
        """Writes what `of` needs to build its network again, without the weights.

        Raises:
            WriteError: It cannot be written.
        """
        network = {
            "module": "keras_hub.models",
            "class_name": self.class_name,
            "config": self.config,
            "registered_name": f"keras_hub>{self.class_name}",
        }
        converter = {"config": {"scale": self.scale, "offset": self.offset}}
        for name, content in (("config.json", network), ("image_converter.json", converter)):
            write_text(folder / name, json.dumps(content, indent=1) + "\n")

    def backbone(self) -> keras.Model:
        """Builds the backbone, with its weights if it has any.

        Raises:
            UserError: The weights cannot be read, or do not fit.
        """
        options = {name: 0.0 for name in _WITHOUT if name in self.config}
        try:
            if not self.has_weights:
                return build_backbone(self.class_name, self.config)
            if self.folder is not None and not any((self.folder / file).is_file() for file in _WEIGHTS):
                raise FileNotFoundError(f"no {_WEIGHTS[0]} in it")
            # By its path: keras-hub would take a folder's name for one of its own presets.
            return hub_models().Backbone.from_preset(self.source, **options)
        except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"build_model.encoder_preset = {self.name!r}: cannot be loaded ({reason_of(error).rstrip(':')}); {_FILES}. "
                "A run's weights are taken by train.initial_weights"
            ) from error


def hub_models():
    """Returns `keras_hub.models`.

    Raises:
        UserError: keras-hub is not installed.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise UserError(
            f"build_model.backbone = 'keras_hub' needs keras-hub ({error}); install it by pip install 'wss[hub]'"
        ) from error
    return keras_hub.models


def build_backbone(class_name: str, config: dict[str, Any]) -> keras.Model:
    """Returns a backbone of keras-hub with random weights."""
    return getattr(hub_models(), class_name)(**config)


def without_dropout(config: dict[str, Any]) -> dict[str, Any]:
    """Returns arguments of a backbone without dropout, and without what its constructor does not take."""
    kept = {name: value for name, value in config.items() if name not in ("dtype", "trainable", "name")}
    return {name: 0.0 if name in _WITHOUT else value for name, value in kept.items()}


def _config_of(folder: Path) -> tuple[str, dict[str, Any]]:
    saved = _json(folder / "config.json")
    try:
        return saved["registered_name"].rpartition(">")[2], {**saved["config"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{_HERE}{folder / 'config.json'}: not of keras-hub ({reason_of(error)}); {_FILES}") from error


def _normalisation_of(folder: Path) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    file = folder / "image_converter.json"
    if not file.is_file():
        raise UserError(
            f"{_HERE}{file}: not there, so nobody knows how images are normalised; save the preset's ImageConverter there "
            "too"
        )
    config = _json(file).get("config", {})
    try:
        scale, offset = _three(config["scale"]), _three(config["offset"] or 0.0)
        if not all(math.isfinite(value) for value in (*scale, *offset)) or min(scale) <= 0:
            raise ValueError(f"scale {scale}, offset {offset}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{_HERE}{file}: no scale above 0 and offset of three channels in it; {_FILES}") from error
    return scale, offset


def _three(value: float | Sequence[float]) -> tuple[float, float, float]:
    values = [float(value)] * 3 if isinstance(value, int | float) else [float(channel) for channel in value]
    red, green, blue = values
    return red, green, blue


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{_HERE}{file}: cannot be read ({reason_of(error)}); {_FILES}") from error
    if not isinstance(found, dict):
        raise UserError(f"{_HERE}{file}: not an object; {_FILES}")
    return found


def _published() -> list[str]:
    """Returns the names of keras-hub's presets of the kinds that are known here."""
    kinds = (getattr(hub_models(), kind, None) for kind in KINDS)
    return [name for kind in kinds for name in getattr(kind, "presets", ())]


def _read(name: str, folder: Path) -> _Read:
    """Returns what a preset is from the files in its folder."""
    class_name, config = _config_of(folder)
    if class_name not in KINDS:
        raise UserError(f"build_model.encoder_preset = {name!r} is a {class_name}, expected one of {', '.join(KINDS)}")
    return class_name, config, *_normalisation_of(folder)


def _downloaded(name: str) -> _Read:
    """Returns what a preset of keras-hub's list is, from its files, which are downloaded."""
    known = _published()
    if name not in known and "://" not in name:
        raise UserError(
            f"build_model.encoder_preset = {name!r}: neither a folder nor a preset of keras-hub.{did_you_mean(name, known)} "
            "Expected such as 'dinov2_small', or the path of a folder"
        )
    try:
        from keras_hub.src.utils.preset_utils import get_file

        folder = Path(get_file(name, "config.json")).parent
        get_file(name, "image_converter.json")
    except Exception as error:  # of the network, of Kaggle, of a full disk
        reason = textwrap.shorten(reason_of(error), 120, placeholder=" ...")
        raise UserError(
            f"build_model.encoder_preset = {name!r}: cannot be downloaded ({reason}); copy its folder from a "
            "machine with a network and give the path, or begin with random weights by build_model.encoder_weights = False"
        ) from error
    return _read(name, folder)


def _scale_and_offset(mean: Sequence[float], deviation: Sequence[float]):
    pairs = list(zip(mean, deviation, strict=True))
    return _three([1 / (255 * d) for _, d in pairs]), _three([-m / d for m, d in pairs])
