"""Initial weights for a model: ImageNet weights under DeepLab's variable names, or another run's `.weights.h5`."""

from pathlib import Path

import numpy as np

from wss.errors import UserError
from wss.models.deeplab import DeepLab
from wss.models.tf1_names import assign_tf1, tf1_variables
from wss.training.checkpoints import load_weights


def load_initial_weights(model: DeepLab, path: str) -> str:
    """Loads weights before training; returns one line on what was loaded.

    Args:
        model: built.
        path: a `.npz` of {TF1 variable name: array}, whose names outside of the backbone may be absent, or a `.weights.h5`
            of the same model.

    Raises:
        UserError: no such file, a shape differs, or a variable of the backbone would stay unset.
    """
    if not Path(path).is_file():
        raise UserError(f"train.initial_weights = {path!r}: no such file")
    if path.endswith(".weights.h5"):
        load_weights(model, path)
        return f"initial weights: all of {path}"
    if not path.endswith(".npz"):
        raise UserError(f"train.initial_weights = {path!r}: expected a .npz or a .weights.h5")
    with np.load(path) as archive:
        values = {name: archive[name] for name in archive.files}
    missing, unused = assign_tf1(model, values, strict=False)
    backbone = tf1_variables(model.backbone)
    unset = [name for name in missing if name in backbone]
    if unset:
        raise UserError(
            f"{path}: has no {unset[0]} ({len(unset)} of {len(backbone)} variables of the backbone are missing)"
        )
    loaded = len(tf1_variables(model)) - len(missing)
    return (
        f"initial weights: {loaded} variables from {path}; {len(missing)} start fresh, {len(unused)} of the file unused"
    )


def save_classifier(model: DeepLab, path: str) -> None:
    """Writes backbone and classifier as float16 to a `.npz` under DeepLab's names, for `load_initial_weights`."""
    scope = f"{model.classifier.tf1_scope}/"
    backbone = tf1_variables(model.backbone)
    names = {name: v for name, v in tf1_variables(model).items() if name in backbone or name.startswith(scope)}
    np.savez_compressed(path, **{name: variable.numpy().astype(np.float16) for name, variable in names.items()})
