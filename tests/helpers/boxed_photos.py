"""Photos with boxes and without masks, and the converter of own folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mask_files import photo

from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_boxes, parse_example
from wss.data.record_files import split_records

CLASSES = "background,cat,dog"
HEADER = "file,class,xmin,ymin,xmax,ymax\n"


class BoxedPhotos:
    """A folder of photos of 60 x 40 pixels, and the converter that reads boxes for them.

    Args:
        root: Folder of all.
        run_script: The fixture.
    """

    def __init__(self, root: Path, run_script: Callable[..., None]):
        self.root, self.images, self.table = root, root / "images", root / "boxes.csv"
        self._run = run_script
        self.images.mkdir()

    def add(self, *names: str) -> None:
        """Adds photos by their paths in the folder."""
        for name in names:
            (self.images / name).parent.mkdir(parents=True, exist_ok=True)
            photo(len(list(self.images.rglob("*")))).save(self.images / name)

    def build(self, content: str | bytes | None, *flags: str, boxes: Path | None = None) -> DatasetInfo:
        """Converts with a table of this content; None leaves `boxes` as it is."""
        path = boxes or self.table
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        given = [f"--images={self.images}", f"--boxes={path}", f"--class_names={CLASSES}", "--workers=1"]
        self._run("build_folder", *given, f"--output_dir={self.root / 'out'}", "--overwrite", *flags)
        return DatasetInfo.load(self.root / "out")


def boxes_of(info: DatasetInfo, split: str) -> dict[str, list[tuple]]:
    """Returns (label, xmin, ymin, xmax, ymax) in pixels of each image whose objects are known."""
    found = {}
    for record in split_records(info, split):
        example, objects = parse_example(record, info.num_classes), parse_boxes(record)
        height, width = example["image"].shape[:2]
        edges = np.round(objects["boxes"].numpy()[:, [1, 0, 3, 2]] * [width, height, width, height], 3).tolist()
        if objects["known"]:
            labels = objects["label"].numpy().tolist()
            found[example["name"].numpy().decode()] = [(label, *box) for label, box in zip(labels, edges, strict=True)]
    return found
