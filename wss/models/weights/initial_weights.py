"""Initial weights: DeepLab's TensorFlow 1 checkpoints, ImageNet weights under DeepLab's or Keras' names, another run's."""

import dataclasses
import zipfile
from pathlib import Path

import h5py
import numpy as np
from etils import epath

from wss.errors import UserError
from wss.files import whole, write_errors
from wss.models.backbones.vgg import STARTS_AFRESH
from wss.models.deeplab import DeepLab
from wss.models.tf1_names import assign_tf1, only_classifies, tf1_shapes, tf1_values
from wss.models.weights.checkpoint_files import is_finite
from wss.models.weights.keras_layouts import from_keras_layout, is_keras_layout, keras_application_values, read_keras_h5
from wss.models.weights.tf1_checkpoint import find_checkpoint, is_bookkeeping, read_checkpoint
from wss.models.weights.weights_file import check_h5, load_weights
from wss.project import locate
from wss.run_directory import RunDirectory

Values = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightReport:
    """A record of what an import did with every variable, by TensorFlow 1 name; `str` makes a short table of it.

    Attributes:
        source: Name of what was read.
        parts: Variables of each part of the model.
        loaded: Variables that were set.
        skipped: Reason why a variable's value was not taken from the file, by variable.
        initial: Variables that the file does not have.
        unknown: Names in the file that the model does not have.
        ignored: Slots and counters in the file.
    """

    source: str
    parts: dict[str, list[str]]
    loaded: set[str]
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    initial: set[str] = dataclasses.field(default_factory=set)
    unknown: list[str] = dataclasses.field(default_factory=list)
    ignored: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        width = max(map(len, self.parts))
        lines = [f"weights of {self.source}", f"  {'':{width}}  loaded  skipped  left at initial value"]
        for part, names in self.parts.items():
            counts = [len(group & set(names)) for group in (self.loaded, self.skipped.keys(), self.initial)]
            reasons = sorted({self.skipped[name] for name in names if name in self.skipped})
            lines.append(
                f"  {part:{width}}  {counts[0]:6}  {counts[1]:7}  {counts[2]:7}  {'; '.join(reasons)}".rstrip()
            )
        for names, what in ((self.unknown, "not in this model"), (self.ignored, "slots and counters, ignored")):
            if names:
                more = ", ..." if len(names) > 3 else ""
                lines.append(f"  {what}: {len(names)} ({', '.join(names[:3])}{more})")
        return "\n".join(lines)


def load_initial_weights(model: DeepLab, path: str, *, last_layer: bool = True) -> WeightReport:
    """Loads weights into a model; variables that the file does not have stay as they are.

    Args:
        model: The network, built.
        path: Path from the working directory, or else from the project or the installed package. It is one of

            - a TensorFlow 1 checkpoint: its prefix, one of its files or its directory;
            - a `.npz` of {TF1 variable name: array} or of a Keras layout;
            - a `.h5` file of `keras.applications`;
            - "imagenet": the weights that `keras.applications` downloads for this backbone;
            - a `.weights.h5` of the same model, or the directory of a finished run.
        last_layer: Whether to take the layers whose size is the number of classes. Those of another number of classes
            are skipped anyway.

    Raises:
        UserError: There is nothing such to read, a shape differs, or a variable of the backbone would stay unset. Or last
            layers are to be left out of a `.weights.h5`, which is read whole or not at all.
    """
    path = locate(path)
    if file := weights_file(path):
        if not last_layer:
            raise UserError(
                f"{file}: is read whole; to leave its last layers out, make a .npz of it by tools/convert_checkpoint.py"
            )
        return _load_whole(model, file)
    if model.spec.preset is not None:
        raise UserError(
            f"train.initial_weights = {path!r}: an encoder of keras-hub has the weights of its preset "
            "(build_model.encoder_preset); leave it out, or give a run or a .weights.h5 of such a network"
        )
    values, ignored = read_weights(path, model.backbone.name)
    return assign_weights(model, values, ignored, source=path, last_layer=last_layer)


def load_pretrained(model: DeepLab, path: str | None) -> str:
    """Loads initial weights for what only a pretrained encoder can do, and returns what they are, in words.

    Args:
        model: The network, built.
        path: As for `load_initial_weights`; None where a preset of keras-hub brought the weights.

    Raises:
        UserError: The weights are random, or there are no such ones.
    """
    if path:
        return str(load_initial_weights(model, path))
    preset = model.spec.preset
    if preset is None or not preset.has_weights:
        missing = "train.initial_weights is not set" if preset is None else "build_model.encoder_weights = False"
        raise UserError(f"{missing}: random weights know no classes; expected pretrained ones, such as 'imagenet'")
    return f"the encoder's weights are those of {preset.source}"


def _load_whole(model: DeepLab, file: Path) -> WeightReport:
    """Loads a `.weights.h5`; a method's own layers stay as they are if the run that wrote it had none."""
    names = set(tf1_shapes(model))
    check_h5(file)
    with h5py.File(file) as content:
        found = "branches" in content
    if model.branches is None or found:
        load_weights(model, file)
        return WeightReport(source=str(file), parts=parts_of(model), loaded=names)
    parts = DeepLab(
        model.backbone,
        model.segmentation_head,
        num_classes=model.num_classes,
        auxiliary_head=model.auxiliary_head,
        spec=model.spec,
    )
    load_weights(parts, file)
    loaded = set(tf1_shapes(parts))
    return WeightReport(source=str(file), parts=parts_of(model), loaded=loaded, initial=names - loaded)


def assign_weights(
    model: DeepLab, values: Values, ignored: list[str], *, source: str, last_layer: bool = True
) -> WeightReport:
    """Assigns what `read_weights` returns; arguments, report and errors as in `load_initial_weights`."""
    if wrong := next((name for name, value in values.items() if not is_finite(value)), None):
        raise UserError(
            f"{source}: {wrong} is not finite (NaN or infinity); expected weights of a training that went well"
        )
    shapes = tf1_shapes(model)
    skipped = _skipped(model, values, shapes, last_layer)
    kept = {name: value for name, value in values.items() if name not in skipped}
    initial = shapes.keys() - kept.keys() - skipped.keys()
    _check_backbone(model, initial, values, source)
    _check_head(model, kept, shapes, source)
    missing, unknown = assign_tf1(model, kept, strict=False)
    return WeightReport(
        source=source,
        parts=parts_of(model),
        loaded=shapes.keys() - set(missing),
        skipped=skipped,
        initial=initial,
        unknown=unknown,
        ignored=ignored,
    )


def weights_file(path: str) -> Path | None:
    """Returns the `.weights.h5` that a path is, or that a run of wss-train in that directory has; None without one."""
    file = RunDirectory(Path(path)).weights if Path(path).is_dir() else Path(path)
    return file if file.name.endswith(".weights.h5") and file.is_file() else None


def read_weights(path: str, backbone: str) -> tuple[Values, list[str]]:
    """Reads weights in any form but `.weights.h5`; see `load_initial_weights`.

    Returns:
        {TF1 variable name: array} and the names of slots and counters, which are left out.
    """
    if path == "imagenet":
        return from_keras_layout(keras_application_values(backbone), backbone), []
    if prefix := find_checkpoint(path):
        return read_checkpoint(prefix)
    if not Path(path).is_file():
        raise UserError(
            f"initial weights {path!r}: no such checkpoint or file; expected a TensorFlow 1 checkpoint (prefix or "
            "directory), a .npz, a .h5 of keras.applications, a .weights.h5 or 'imagenet'"
        )
    if path.endswith(".npz"):
        values, ignored = _read_npz(path)
    elif path.endswith(".h5"):
        values, ignored = read_keras_h5(path), []
    else:
        raise UserError(f"initial weights {path!r}: expected a checkpoint, a .npz or a .h5")
    return (from_keras_layout(values, backbone) if is_keras_layout(values) else values), ignored


def _read_npz(path: str) -> tuple[Values, list[str]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            values = {name: archive[name] for name in archive.files if not is_bookkeeping(name)}
            return values, [name for name in archive.files if name not in values]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz of arrays: {str(error).splitlines()[0]}") from error


def save_classifier(model: DeepLab, path: str) -> None:
    """Writes backbone and classifier as float16 to a `.npz` under DeepLab's names, for `load_initial_weights`.

    Raises:
        WriteError: It cannot be written.
    """
    parts = parts_of(model)
    names = parts["backbone"] + parts["classifier"]
    values = tf1_values(model)
    halves = {name: values[name].astype(np.float16) for name in names}
    with write_errors(path), whole(epath.Path(path), suffix=".npz") as temporary:
        np.savez_compressed(temporary, **halves)  # type: ignore[arg-type]


def parts_of(model: DeepLab) -> dict[str, list[str]]:
    """Returns {part of the model: TF1 names of its variables}; only parts that it has."""
    scopes: dict[str, tuple[str, ...]] = {
        "pyramid pooling": ("ppm/", "pspnet/"),
        "auxiliary head": ("auxiliary/",),
        "logits": ("logits/",),
        "classifier": (model.classifier_scope,),
        "self-attention": ("hyper_column/", "pixel_normalization/"),
    }
    backbone = tf1_shapes(model.backbone).keys()
    rest = tf1_shapes(model).keys() - backbone
    named = {part: sorted(name for name in rest if name.startswith(scope)) for part, scope in scopes.items()}
    head = rest - {name for names in named.values() for name in names}
    parts = {"backbone": sorted(backbone), "ASPP and decoder": sorted(head), **named}
    return {part: names for part, names in parts.items() if names}


def _skipped(model: DeepLab, values: Values, shapes: dict, last_layer: bool) -> dict[str, str]:
    """Returns {variable of a last layer: why its value does not go into the model}."""
    scopes = ("logits/", model.classifier_scope, "pixel_normalization/")
    skipped = {}
    for name in sorted(values.keys() & shapes.keys()):
        if not name.startswith(scopes):
            continue
        classes, expected = values[name].shape[-1], shapes[name][-1]
        if classes != expected:
            skipped[name] = f"{classes} classes, the model has {expected}"
        elif not last_layer:
            skipped[name] = "last layers are left out"
    return skipped


def _check_backbone(model: DeepLab, initial: set[str], values: Values, path: str) -> None:
    """Checks that a backbone is loaded whole, but for what `only_classifies` and what VGG without a classifier lacks."""
    backbone = tf1_shapes(model.backbone)
    spared = {name for name in initial if only_classifies(name) or name.startswith(STARTS_AFRESH)}
    unset = sorted((initial - spared) & backbone.keys())
    if unset:
        found = f"it has {len(values)} variables such as {min(values)}" if values else "it has no variables"
        raise UserError(
            f"{path}: has no {unset[0]} ({len(unset)} of {len(backbone)} variables of the backbone {model.backbone.name} "
            f"are missing); {found}; is it of another backbone (build_model.backbone)?"
        )


def _check_head(model: DeepLab, values: Values, shapes: dict, source: str) -> None:
    for name in parts_of(model).get("ASPP and decoder", []):
        if name in values and values[name].size != np.prod(shapes[name]):
            raise UserError(
                f"{source}: {name} has shape {values[name].shape}, the model expects {shapes[name]}: another ASPP or "
                "decoder; set build_model.aspp_rates, use_decoder or head_depth (DeepLab's MobileNetV2: "
                "gin_configs/models/mobilenet_v2_deeplab.gin)"
            )
