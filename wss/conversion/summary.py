"""What a converter prints at its end: images, masks and each class's share of the labelled pixels."""

import numpy as np

from wss.data.dataset_info import DatasetInfo
from wss.data.splits import Statistics
from wss.tables import format_columns

MAX_SHOWN = 12


def print_summary(info: DatasetInfo, statistics: dict[str, Statistics]) -> None:
    """Prints the table, the classes that never occur, and where the data set lies."""
    print(summary(info, statistics))
    if absent := absent_classes(info, statistics):
        shown = ", ".join(absent[:MAX_SHOWN]) + (f", {len(absent) - MAX_SHOWN} more" if len(absent) > MAX_SHOWN else "")
        print(f"\nclasses that never occur in the masks ({len(absent)} of {info.num_classes}): {shown}")
    print(f"\n{info.directory}: {info.num_classes} classes, {len(info.splits)} splits")


def summary(info: DatasetInfo, statistics: dict[str, Statistics]) -> str:
    """Returns a table: a column per split; its counts, then percent of the labelled pixels per class, then of void.

    Without any mask there are only the counts.
    """
    splits = list(statistics)
    rows = [["", *splits]]
    for title, attribute in (
        ("images", "num_images"),
        ("masks", "num_masks"),
        ("image labels", "num_image_labels"),
        ("boxes", "num_with_boxes"),
    ):
        rows.append([title, *(str(getattr(statistics[split], attribute)) for split in splits)])
    rows.append(["largest (h x w)", *("{}x{}".format(*statistics[split].max_size) for split in splits)])
    if not any(found.num_masks for found in statistics.values()):
        return format_columns(rows)
    for label, name in [*enumerate(info.class_names), (info.ignore_label, "ignored")]:
        rows.append([f"{label} {name} %", *(_share(statistics[split], label, info.ignore_label) for split in splits)])
    return format_columns(rows)


def absent_classes(info: DatasetInfo, statistics: dict[str, Statistics]) -> list[str]:
    """Returns the names of the classes that no mask of any split has; none of them where there are no masks."""
    pixels = np.sum([found.pixels for found in statistics.values()], axis=0)
    if not any(found.num_masks for found in statistics.values()):
        return []
    return [name for label, name in enumerate(info.class_names) if not pixels[label]]


def _share(statistics: Statistics, label: int, ignore_label: int) -> str:
    """Returns percent of the labelled pixels; for the ignore label, percent of all."""
    total = statistics.pixels.sum() - (0 if label == ignore_label else statistics.pixels[ignore_label])
    return f"{100 * statistics.pixels[label] / total:.2f}" if total else "-"
