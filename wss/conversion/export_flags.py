"""What the converters of label tools' exports have in common: their flags, and one call that writes the data set."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from wss.conversion.class_files import ClassList, read_class_list
from wss.conversion.converter_flags import convert
from wss.conversion.encode import LabelMap
from wss.conversion.layouts.exports.export import (
    AUTO,
    BACKGROUND,
    UNANNOTATED,
    Export,
    Kind,
    Part,
    Request,
    counted,
    upright_classes,
)
from wss.conversion.layouts.exports.splits import TRAIN, UNLABELED, SplitRule, pools_of
from wss.conversion.layouts.folder import labels_without_image
from wss.conversion.sources import Source
from wss.data.image_label_files import read_image_labels
from wss.data.masks import IGNORE, INVALID, lookup_table, parse_classes, parse_ignore_values
from wss.data.splits import Split
from wss.errors import UserError, did_you_mean

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # they belong to the converter that asks for them, whose --help lists them
MAX_SHOWN = 12


def define_export_flags() -> None:
    """Defines the flags that both converters of exports have."""
    flags.DEFINE_enum(
        "unannotated",
        AUTO,
        UNANNOTATED,
        "Images of an export of a label tool in which nothing is annotated: background, unlabeled, or auto, as the tool "
        "means it. A line says what was taken.",
    )
    flags.DEFINE_float(
        "val_fraction", 0.2, "Part of the images with masks for val, by chance.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_string(
        "train_list", None, "Text file of the images of train, one per line; by default all not in val."
    )
    flags.DEFINE_string("val_list", None, "Text file of the images of val, one per line; instead of val_fraction.")


def split_rule() -> SplitRule:
    """Returns how the flags split images that have no split of their own."""
    fraction = FLAGS.val_fraction if FLAGS["val_fraction"].present else None
    return SplitRule(FLAGS.train_list, FLAGS.val_list, fraction, FLAGS.seed)


def request_of(class_names: str | None, photos: str | None, tasks: str | None = None) -> Request:
    """Returns what the flags say about an export."""
    classes = None
    if class_names:
        classes = upright_classes(read_class_list(class_names), f"--class_names={class_names}")
    return Request(photos, classes, FLAGS.unannotated, tasks)


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a person may ask of an export besides.

    Attributes:
        unlabeled: Further images without masks.
        unlabeled_has_train: Whether the images of train belong to unlabeled too.
        image_labels: CSV file of the classes of images without masks, see `read_image_labels`; None without one.
        classes: Ids to keep, as in `masks.parse_classes`.
        ignore_values: Values that do not count, as in `masks.parse_ignore_values`.
        problems: Lines on what was found wrong so far.
    """

    unlabeled: Sequence[Source] = ()
    unlabeled_has_train: bool = False
    image_labels: str | None = None
    classes: Sequence[str] = ()
    ignore_values: Sequence[str] = ()
    problems: Sequence[str] = ()


def convert_export(root: str, kind: Kind, request: Request, *, command: str, choices: Choices = Choices()) -> None:
    """Reads an export and writes it as a data set.

    Args:
        root: Folder of the export.
        kind: What it is.
        request: What a person says about it.
        command: The converter, for the record of the data set.
        choices: What a person asks besides.
    """
    print(f"{root}: an export of {kind.words}")
    export = kind.read(Path(root), request)
    _add_unlabeled(export, choices.unlabeled)
    if choices.image_labels is not None:
        _add_image_labels(export, choices.image_labels)
    target = _target(export, request.classes, is_drawn=kind.is_drawn)
    keep = parse_classes(choices.classes, len(target.names))
    kept = range(len(target.names)) if keep is None else keep
    lookup = _lookup(export, target, root, lookup_table(len(target.names), keep))
    lookup[parse_ignore_values(choices.ignore_values, len(export.classes.names))] = IGNORE
    pools = pools_of(export, split_rule())
    masks = sum(len(part.labeled) for part in export.parts.values())
    print(f"{root}: {counted(masks, 'image')} with a mask, {len(target.names)} classes")
    print("".join(f"{line}\n" for line in export.lines), end="")
    convert(
        pools,
        class_names=[target.names[c] for c in kept],
        colors=[target.colors[c] for c in kept],
        labels=LabelMap(lookup, export.classes.color_map, export.classes.reading),
        splits=_splits(pools, choices.unlabeled_has_train),
        has_background=target.names[0] == BACKGROUND and 0 in kept,
        provenance={
            "command": command,
            "export": kind.words,
            "classes": list(kept),
            "unannotated": request.unannotated,
        },
        problems=[*choices.problems, *export.problems],
    )


def _add_unlabeled(export: Export, unlabeled: Sequence[Source]) -> None:
    if unlabeled:
        name = next((name for name in ("", "train", "default") if name in export.parts), "")
        part = export.parts.get(name, Part())
        export.parts[name] = dataclasses.replace(part, unlabeled=[*part.unlabeled, *unlabeled])


def _add_image_labels(export: Export, path: str) -> None:
    """Gives images without masks the classes that a CSV file says."""
    names = export.classes.names
    labels, problems = read_image_labels(path, names, [name for name in names if name != BACKGROUND])
    export.problems.extend(problems)
    ids = {source.id for part in export.parts.values() for source in (*part.labeled, *part.unlabeled)}
    export.problems.extend(labels_without_image(labels, ids))
    for name, part in export.parts.items():
        tagged = [dataclasses.replace(source, image_labels=labels.get(source.id)) for source in part.unlabeled]
        export.parts[name] = dataclasses.replace(part, unlabeled=tagged)


def _splits(pools: Iterable[str], unlabeled_has_train: bool) -> dict[str, Split]:
    splits = {pool: Split((pool,)) for pool in pools}
    if unlabeled_has_train:
        splits[UNLABELED] = Split(tuple(pool for pool in (TRAIN, UNLABELED) if pool in splits))
    return splits


def _target(export: Export, given: ClassList | None, *, is_drawn: bool) -> ClassList:
    """Returns the classes of the data set: those that a person gave, in the colours of the export, or its own."""
    if given is None:
        return export.classes
    if (is_drawn or BACKGROUND in export.classes.names) and given.names[0] != BACKGROUND:
        raise UserError(
            f"--class_names={','.join(given.names[:MAX_SHOWN])}: expected {BACKGROUND!r} first, since pixels that nobody "
            "labelled are it"
        )
    if given.color_map is not None or export.classes.color_map is None:
        return given
    known = dict(zip(export.classes.names, export.classes.colors, strict=True))
    return dataclasses.replace(given, colors=[known.get(n, c) for n, c in zip(given.names, given.colors, strict=True)])


def _lookup(export: Export, target: ClassList, root: str, table: np.ndarray) -> np.ndarray:
    """Returns what becomes of each value of the masks of an export, see `masks.lookup_table`; adds to its problems."""
    lookup = np.full(256, INVALID, np.int16)
    for value, name in enumerate(export.classes.names):
        if name in target.names:
            lookup[value] = table[target.names.index(name)]
        else:
            export.problems.append(
                f"{root}: its class {name[:60]!r} is none of --class_names; expected one of "
                f"{', '.join(target.names[:MAX_SHOWN])}.{did_you_mean(name[:80], target.names)}"
            )
    return lookup
