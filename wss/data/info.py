"""DatasetInfo: the single truth on a data set, a `dataset.json` beside its TFRecords."""

import dataclasses
import json
import os
from pathlib import Path

from wss.errors import UserError, did_you_mean

FILE_NAME = "dataset.json"


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """One split of a data set.

    Attributes:
        shards: file name of each TFRecord file, relative to the data set's folder, with its number of examples.
        num_masks: how many examples have a mask.
        num_image_labels: how many examples have image-level labels of their own (masks imply them too).
        max_size: largest (height, width) over the images.
        checksum: SHA-256 of the example ids in order, one per line; tells two lists of the same size apart.
    """

    shards: dict[str, int]
    num_masks: int
    num_image_labels: int
    max_size: tuple[int, int]
    checksum: str = ""

    @property
    def num_examples(self) -> int:
        return sum(self.shards.values())


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a model, a pipeline or a picture needs to know of a data set.

    Attributes:
        name: short name, such as "voc2012".
        class_names: names of classes 0 .. C-1.
        colors: RGB colour of each class, 0 .. 255.
        splits: split name -> SplitInfo.
        ignore_label: label of pixels that count nowhere.
        has_background: class 0 is "everything else" and has no image-level label (false for Cityscapes).
        provenance: how it was built (command, seed, source), for people.
        directory: where the records lie; set by `load`.
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
        return len(self.class_names)

    @property
    def num_image_classes(self) -> int:
        """Classes that an image-level label can name: all but the background."""
        return self.num_classes - int(self.has_background)

    def split(self, name: str) -> SplitInfo:
        """Returns a split; an unknown name is a `UserError` that lists the splits."""
        if name not in self.splits:
            raise UserError(
                f"{self.directory or self.name}: no split {name!r}; it has {', '.join(sorted(self.splits))}."
                f"{did_you_mean(name, self.splits)}"
            )
        return self.splits[name]

    def files(self, split: str) -> list[str]:
        """Returns the paths of a split's TFRecord files; a missing one is a `UserError`."""
        paths = [os.path.join(self.directory, shard) for shard in self.split(split).shards]
        for path in paths:
            if not os.path.exists(path):
                raise UserError(f"{path}: missing, though {FILE_NAME} lists it; build the data set again")
        return paths

    def save(self, directory: str | Path) -> None:
        """Writes `dataset.json` into `directory`, whole or not at all."""
        content = dataclasses.asdict(self)
        del content["directory"]
        path = Path(directory) / FILE_NAME
        temporary = path.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        temporary.replace(path)

    @classmethod
    def load(cls, directory: str | Path) -> "DatasetInfo":
        """Reads `<directory>/dataset.json`.

        Raises:
            UserError: there is none, or it is not what a converter of this project writes.
        """
        path = Path(directory) / FILE_NAME
        if not path.is_file():
            raise UserError(
                f"{path}: not found. Build the records with a datasets/build_*.py, or describe existing DeepLab "
                "records with datasets/describe_records.py"
            )
        try:
            content = json.loads(path.read_text())
            splits = {
                name: SplitInfo(**{**split, "max_size": tuple(split["max_size"])})
                for name, split in content.pop("splits").items()
            }
            info = cls(
                **{
                    **content,
                    "class_names": tuple(content["class_names"]),
                    "colors": tuple(tuple(color) for color in content["colors"]),
                },
                splits=splits,
                directory=str(directory),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: damaged ({error!r}); build the data set again") from error
        return info
