"""Finding and preparing a data set of tensorflow-datasets (TFDS), and what is in its features."""

from __future__ import annotations

import functools
import operator
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from wss.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from wss.conversion.layouts.tfds import Layout


def find_builder(dataset: str, data_dir: str | None) -> Any:
    """Returns the builder of a data set, prepared or not.

    Args:
        dataset: Its name as "name", "name/config" or "name/config:version".
        data_dir: Folder where TFDS keeps its data; None for its default.

    Raises:
        UserError: There is no such data set, config or version, or damaged metadata.
    """
    import tensorflow_datasets as tfds

    name, *rest = re.split("[/:]", dataset)
    known = tfds.list_builders(with_community_datasets=False)
    try:
        return tfds.builder(dataset, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(f"--dataset={dataset}: TFDS has no such data set.{did_you_mean(name, known)}") from error
    except Exception as error:  # of TFDS, JSON, protocol buffers, a missing package
        has_config = name in known and dataset.startswith(f"{name}/") and isinstance(error, ValueError | TypeError)
        configs = list(tfds.builder_cls(name).builder_configs) if has_config else []
        if has_config and rest[0] not in configs:
            raise UserError(
                f"--dataset={dataset}: {name} has no such config, but {', '.join(configs) or 'none'}."
                f"{did_you_mean(rest[0], configs)}"
            ) from error
        # The message of TFDS begins with what it was called with.
        reason = first_line(str(error)).rsplit('}": ', 1)[-1] or type(error).__name__
        raise UserError(
            f"--dataset={dataset}: {reason} (data in {data_dir or 'the default folder of TFDS'})"
        ) from error


def prepare(builder: Any, dataset: str, data_dir: str | None, *, download: bool) -> None:
    """Makes sure that a data set is prepared.

    Args:
        builder: Its builder.
        dataset: Its name, see `find_builder`.
        data_dir: Folder where TFDS keeps its data; None for its default.
        download: Whether to download and prepare it if it is not.

    Raises:
        UserError: It is not prepared, and it may or can not be downloaded.
    """
    if builder.is_prepared():
        return
    manual = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
    manual = f" It needs files that you get yourself: {manual}" if manual else ""
    if not download:
        command = f"tfds build {dataset}" + (f" --data_dir={data_dir}" if data_dir else "")
        raise UserError(
            f"--dataset={dataset}: not prepared in {builder.data_dir}; run `{command}` or add --download.{manual}"
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # of the network, an archive, a missing package, the builder
        reason = f"{type(error).__name__}: {first_line(str(error))}"
        raise UserError(f"--dataset={dataset}: cannot be downloaded and prepared ({reason}).{manual}") from error


def check_features(builder: Any, layout: Layout) -> None:
    """Raises a `UserError` if the data set lacks a feature that the layout names, or has something else there."""
    import tensorflow_datasets as tfds

    image, mask = (_feature(builder, kind, getattr(layout, kind)) for kind in ("image", "mask"))
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise UserError(f"--image_feature={layout.image}: {image!r}, expected uint8 images")
    if not isinstance(mask.shape, tuple) or len(mask.shape) not in (2, 3) or not _is_integer(mask):
        raise UserError(f"--mask_feature={layout.mask}: {mask!r}, expected integers [H, W] or [H, W, C]")
    if layout.channel is not None and layout.channel >= ((*mask.shape, 1)[2] or 1):
        raise UserError(f"--mask_channel={layout.channel}: {mask!r} in {layout.mask}, which has no such channel")
    if layout.name:
        name = _feature(builder, "name", layout.name)
        if name.shape != () or not (_is_integer(name) or name.np_dtype == np.object_):
            raise UserError(f"--name_feature={layout.name}: {name!r}, expected a text or a number")


def _feature(builder: Any, kind: str, name: str) -> Any:
    features = builder.info.features
    keys = feature_keys(features, name)
    if not keys:
        known = feature_names(features)
        configs = ", ".join(f"{builder.name}/{config}" for config in builder.builder_configs)
        raise UserError(
            f"--{kind}_feature={name}: {builder.info.full_name} has no such feature, but {', '.join(known)}."
            f"{did_you_mean(name, known)}" + (f" Its configs are {configs}." if configs else "")
        )
    return functools.reduce(operator.getitem, keys, features)


def _is_integer(feature: Any) -> bool:
    return np.issubdtype(feature.np_dtype, np.integer)


def feature_keys(features: Any, name: str) -> tuple[str, ...]:
    """Returns the keys to the feature "a/b" of a FeaturesDict, () if there is none; a key may have a "/" itself."""
    if name in features:
        return (name,)
    for key, inner in _inner_features(features):
        if name.startswith(f"{key}/") and (rest := feature_keys(inner, name[len(key) + 1 :])):
            return (key, *rest)
    return ()


def feature_names(features: Any) -> list[str]:
    """Returns the names of all features of a FeaturesDict, as `feature_keys` reads them."""
    inner = dict(_inner_features(features))
    return [
        name
        for key in features
        for name in ([f"{key}/{rest}" for rest in feature_names(inner[key])] if key in inner else [key])
    ]


def _inner_features(features: Any) -> list[tuple[str, Any]]:
    import tensorflow_datasets as tfds

    return [(key, inner) for key, inner in features.items() if isinstance(inner, tfds.features.FeaturesDict)]


def first_line(text: str) -> str:
    """Returns the first line of a message, "" if there is none."""
    return (text.strip().splitlines() or [""])[0]
