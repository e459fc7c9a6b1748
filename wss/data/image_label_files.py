"""Files of image-level labels: what each photo shows, one line a photo, as people and tools write it."""

import csv
import io
import os
from collections.abc import Mapping, Sequence

from wss.data.photo_folder import composed, id_of
from wss.data.text_files import read_text
from wss.errors import UserError, did_you_mean
from wss.files import write_text

HEADER = ("filename", "labels")


def read_image_labels(
    path: str, class_names: Sequence[str], foreground: Sequence[str]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Reads a CSV file of lines "file name,class;class", with or without the header "filename,labels".

    Returns:
        Image id (the file name without extension) -> class ids, and a line per problem.
    """
    labels: dict[str, tuple[int, ...]] = {}
    problems = []
    foreground = [composed(name) for name in foreground]
    reader = csv.reader(read_text(path).splitlines())
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: {error}; expected file name, classes separated by ';'") from error
    for number, row in enumerate(rows, start=1):
        if not row or (number == 1 and row[0].strip().casefold() == HEADER[0]):
            continue
        if len(row) != 2:
            problems.append(f"{path}:{number}: {len(row)} columns, expected 2: file name, classes separated by ';'")
            continue
        names = [composed(name.strip()) for name in row[1].split(";") if name.strip()]
        problems += [
            f"{path}:{number}: {name!r} is no foreground class; expected one of {', '.join(foreground)}."
            f"{did_you_mean(name, foreground)}"
            for name in names
            if name not in foreground
        ]
        id = id_of(row[0].strip())
        if id in labels:
            problems.append(f"{path}:{number}: a second line for {row[0].strip()!r}")
        labels[id] = tuple(class_names.index(name) for name in names if name in foreground)
    return labels, problems


def write_image_labels(
    path: str | os.PathLike, labels: Mapping[str, Sequence[int]], class_names: Sequence[str]
) -> None:
    """Writes what `read_image_labels` reads, whole or not at all.

    Args:
        path: The CSV file.
        labels: Class ids by image id.
        class_names: Names of all classes.

    Raises:
        UserError: It cannot be written, or the name of a class has a ";" in it.
    """
    if unfit := [name for name in class_names if ";" in name]:
        raise UserError(
            f"{path}: not written (the name {unfit[0]!r} has a ';', which separates names); rename the class"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((id, ";".join(class_names[c] for c in classes)) for id, classes in labels.items())
    write_text(path, text.getvalue())
