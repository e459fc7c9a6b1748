"""DatasetInfo: the single truth on a data set, a `dataset.json` beside its TFRecords."""

import dataclasses
import json
import os

import gin
from etils import epath

from wss.data.dataset_json import check_content, check_runs, is_regular_file, read_json
from wss.errors import UserError, did_you_mean
from wss.files import write_text
from wss.parameter_ranges import in_ranges
from wss.project import converter
from wss.ranges import Text

FILE_NAME = "dataset.json"
SPLITS_FOLDER = "splits"


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """One split of a data set: all records of some files, or some of them, which other splits may share.

    Attributes:
        shards: Number of its examples in each TFRecord file, by the file's name in the folder of the data set.
        num_masks: Number of examples with a mask.
        num_image_labels: Number of examples with image-level labels of their own; masks imply them too.
        max_size: Largest (height, width) over the images.
        checksum: SHA-256 of the sorted ids, see `splits.checksum`; it tells two lists of the same size apart.
        num_with_boxes: Number of examples with boxes of their objects.
        runs_file: File that says which records of the shards belong to it, see `DatasetInfo.runs`; "" for all of them.
        hide_masks: Whether training must not see the masks that its records may have.
    """

    shards: dict[str, int]
    num_masks: int
    num_image_labels: int
    max_size: tuple[int, int]
    checksum: str = ""
    num_with_boxes: int = 0
    runs_file: str = ""
    hide_masks: bool = False

    @property
    def num_examples(self) -> int:
        """Number of examples in all its files."""
        return sum(self.shards.values())


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a model, a pipeline or a picture needs to know of a data set.

    Attributes:
        name: Short name, such as "voc2012".
        class_names: Names of classes 0 .. C-1.
        colors: RGB colour of each class, 0 .. 255.
        splits: Its splits by name.
        ignore_label: Label of pixels that count nowhere.
        has_background: Whether class 0 is everything else and has no image-level label; false for Cityscapes.
        provenance: Command, seed and origin of the data set, for people.
        directory: Folder of the records; set by `load`.
    """

    name: str
    class_names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    splits: dict[str, SplitInfo]
    ignore_label: int = 255
    has_background: bool = True
    provenance: dict = dataclasses.field(default_factory=dict)
    directory: str = ""

    @property
    def num_classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.class_names)

    def split(self, name: str) -> SplitInfo:
        """Returns a split; an unknown name is a `UserError` that lists the splits."""
        if name not in self.splits:
            raise UserError(
                f"{self.directory or self.name}: no split {name!r}; it has {', '.join(sorted(self.splits))}."
                f"{did_you_mean(name, self.splits)}"
            )
        return self.splits[name]

    def files(self, split: str) -> list[str]:
        """Returns the paths of a split's TFRecord files; a missing one, or what is no file, is a `UserError`."""
        paths = [os.path.join(self.directory, shard) for shard in self.split(split).shards]
        for path in map(epath.Path, paths):
            if not is_regular_file(path):
                found = "no regular file" if path.exists() else "missing"
                raise UserError(f"{path}: {found}, though {FILE_NAME} lists it; build the data set again")
        return paths

    def runs(self, split: str) -> dict[str, list[tuple[int, int]]]:
        """Returns which records of its files belong to a split.

        Returns:
            Runs of records, (byte offset, number of records), by the name of the file.

        Raises:
            UserError: The file that says so is missing or damaged.
        """
        found = self.split(split)
        if not found.runs_file:
            return {file: [(0, count)] for file, count in found.shards.items()}
        path = epath.Path(self.directory) / found.runs_file
        help = f"make the split {split!r} again"
        if not is_regular_file(path):
            raise UserError(f"{path}: missing or damaged (there is no such file); {help}")
        try:
            return check_runs(read_json(path), found.shards, found.checksum)
        except KeyError as error:
            raise UserError(f"{path}: does not fit {FILE_NAME}; {help}") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: missing or damaged ({_line(error)}); {help}") from error

    def save(self, directory: str | os.PathLike) -> None:
        """Writes `dataset.json` into `directory`, whole or not at all.

        Raises:
            UserError: It cannot be written, or `load` would refuse it.
        """
        content = dataclasses.asdict(self)
        del content["directory"]
        path = epath.Path(directory) / FILE_NAME
        try:
            check_content(content)
        except ValueError as error:
            raise UserError(f"{path}: not written ({error})") from error
        write_text(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "DatasetInfo":
        """Reads `<directory>/dataset.json`.

        Raises:
            UserError: There is none, or it is not what a converter of this project writes.
        """
        path = epath.Path(directory) / FILE_NAME
        if not is_regular_file(path):
            raise UserError(
                f"{path}: not found. Build the records with {converter('build_*')} (build_shapes: the embedded ones), "
                f"or describe existing DeepLab records with {converter('describe_records')}"
            )
        try:
            content = read_json(path)
            check_content(content)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged ({_line(error)}); build the data set again") from error
        splits = {
            name: SplitInfo(**{**split, "max_size": tuple(split["max_size"])})
            for name, split in content.pop("splits").items()
        }
        tuples = {
            "class_names": tuple(content["class_names"]),
            "colors": tuple(tuple(color) for color in content["colors"]),
        }
        return cls(**{**content, **tuples}, splits=splits, directory=str(directory))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@gin.configurable
@in_ranges("load_dataset", directory=Text("the folder of a data set", paths=True))
def load_dataset(directory: str = gin.REQUIRED) -> DatasetInfo:
    """Reads the `dataset.json` in `directory`."""
    return DatasetInfo.load(directory)
