"""Writes a trained network in other formats, and keeps what gives the same on real photos."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from etils import epath

from wss import __version__
from wss.data.resize import ResizeToRange
from wss.errors import UserError, first_line
from wss.experiment import OpenRun
from wss.exports.comparison import Difference, network_probabilities
from wss.exports.examples import example, example_name
from wss.exports.formats.base import ABOUT, Export, Format, Run, Shape
from wss.exports.formats.saved_model import EXTRA
from wss.exports.photos import Photos
from wss.files import WriteError, locked, reason_of, remove_temporaries, unique_name, write_errors, write_text
from wss.inference.serving import serving_model
from wss.progress import track
from wss.tables import format_bytes, format_table


def export_run(
    run: OpenRun,
    formats: Sequence[Format],
    output: Path,
    *,
    shape: Shape,
    photos: Photos,
    calibration: Photos,
    limit: float | None = None,
) -> None:
    """Writes a network, and a program that uses it, in each format; prints how far each is from the network.

    Args:
        run: The run, opened with precision float32.
        formats: The formats.
        output: Folder for the files.
        shape: What the files take.
        photos: Photos on which they are compared with the network; those of another size are brought to `shape`.
        calibration: Photos for ranges of activations.
        limit: Largest share of pixels whose class may differ; None for that of each format.

    Raises:
        UserError: A file cannot be written, or differs by more. The others are there.
    """
    resize = ResizeToRange()
    model = serving_model(run.model, resize=resize, size=shape.size, batch=shape.batch)
    calibrating = lambda: (photo.at(shape.size).image for photo in calibration)
    export = Export(model, about(run, resize, shape), calibrating)
    failures = Failures()
    with _work_folder(output) as folder:
        opened = {}
        for one in track(formats, "writing", unit="file"):
            with failures.of(one):
                opened[one] = _written(one, export, folder / one.file)
        differences = {one: Difference(run.info.num_classes, run.info.ignore_label) for one in opened}
        for photo in track((one.at(shape.size) for one in photos), "comparing", len(photos), unit="photo"):
            batch = photo.variants(shape.batch or 2)
            expected = [network_probabilities(run.model, resize, one.image) for one in batch]
            for one in [one for one in opened if one not in failures.formats]:
                with failures.of(one):
                    found = opened[one](np.stack([variant.image for variant in batch]))
                    for variant, *values in zip(batch, *found, expected, strict=True):
                        differences[one].add(variant, *values)
        compared = {one: difference for one, difference in differences.items() if one not in failures.formats}
        if compared:
            print(_table(compared, folder))
        for one, difference in compared.items():
            with failures.of(one):
                _check(one, difference, one.limit if limit is None else limit)
                _replace(folder / one.file, output / one.file)
                write_text(output / example_name(one), example(one, shape))
        for one in compared:
            if one not in failures.formats:
                print(f"\n{output / example_name(one)}:\n\n{example(one, shape)}")
    failures.tell()


class Failures:
    """What went wrong, by format; the others go on.

    Attributes:
        formats: The formats that failed.
    """

    def __init__(self):
        self.formats: dict[Format, str] = {}

    @contextlib.contextmanager
    def of(self, format_: Format) -> Iterator[None]:
        """Keeps what is raised inside; converters and runtimes raise what they like."""
        try:
            yield
        except UserError as error:
            self.formats[format_] = str(error)
        except Exception as error:
            self.formats[format_] = (
                f"--format={format_.name}: this network does not run in it ({first_line(error)}); take another format"
            )

    def tell(self) -> None:
        """Raises a `UserError` of a line for each format that failed."""
        if self.formats:
            raise UserError("\n".join(self.formats.values()))


def about(run: OpenRun, resize: ResizeToRange, shape: Shape) -> str:
    """Returns what the user of a file wants to know of it, as JSON."""
    classes = zip(run.info.class_names, run.info.colors, strict=True)
    content = {
        "classes": [{"id": i, "name": name, "color": list(color)} for i, (name, color) in enumerate(classes)],
        "has_background": run.info.has_background,
        "input": "photos: uint8 [batch, height, width, 3], RGB",
        "outputs": "classes: int32 [batch, height, width]; probabilities: float32 [batch, height, width, classes]",
        "size": shape.size,
        "batch": shape.batch,
        "resize_to_range": dataclasses.asdict(resize),
        "backbone": run.model.backbone.name,
        "weights": run.weights,
        "step": run.step,
        "dataset": run.info.name,
        "wss": __version__,
    }
    return json.dumps(content, indent=1)


@contextlib.contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """Yields a folder in `output` for files that are not known to be right yet; keeps others from writing there."""
    with write_errors(output, "expected a folder for the files in --output"):
        output.mkdir(parents=True, exist_ok=True)
    with locked(
        output / "lock", busy=f"{output}: another wss-export writes there; wait for it, or give another --output"
    ):
        remove_temporaries(output)
        folder = Path(unique_name(epath.Path(output) / "export"))
        try:
            with write_errors(output):
                folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _written(format_: Format, export: Export, path: Path) -> Run:
    """Writes a file and opens it."""
    try:
        format_.write(export, path)
    except OSError as error:
        raise WriteError(f"{path.name}: cannot be written ({reason_of(error)})") from error
    return format_.open(path)


def _table(differences: Mapping[Format, Difference], folder: Path) -> str:
    headers = ["format", "size", "largest difference", "other class"]
    rows: list[list[str | float]] = []
    for one, difference in differences.items():
        row: list[str | float] = [one.name, format_bytes(_size(folder / one.file))]
        row += [f"{difference.largest:.1e}", f"{difference.share:.3%}"]
        if difference.mean_ious is not None:
            row += [100 * iou for iou in difference.mean_ious]
        rows.append(row)
    return format_table([*headers, "mIoU", "the network's"][: len(rows[0])], rows)


def _check(format_: Format, difference: Difference, limit: float) -> None:
    found = ""
    if not difference.pixels:
        found = "was compared with no photo"
    elif not difference.largest <= format_.largest:
        found = f"differs by {difference.largest:.3g} in a probability, expected {format_.largest:g} at most"
    elif not difference.share <= limit:
        found = (
            f"gives {difference.share:.2%} of the pixels another class than the network, expected {limit:.2%} at most"
        )
    if not found:
        return
    raise UserError(
        f"{format_.file}: not kept, it {found}; take other photos (--images), another format, or more by --max_different"
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _replace(new: Path, path: Path) -> None:
    """Puts a file or a folder in the place of another one, of which there is a whole one but for a moment.

    Raises:
        UserError: There is a folder with something else in it.
    """
    old = new.with_name(f"old_{path.name}")
    is_folder = path.is_dir() and not path.is_symlink()
    if is_folder and any(path.iterdir()) and not (path / EXTRA / ABOUT).exists():
        raise UserError(f"{path}: a folder with something else in it; move it away, or give another --output")
    with write_errors(path):
        if is_folder:
            path.replace(old)
        try:
            new.replace(path)
        except BaseException:
            if is_folder:
                old.replace(path)
            raise
