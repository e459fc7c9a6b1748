"""The converters on an export of a label tool, and what they wrote or refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_trees import drawn, write_json

from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.record_files import split_records
from wss.errors import UserError


def masks_of(info: DatasetInfo, split: str) -> dict[str, np.ndarray | None]:
    """Mask of each image of a split, None without one."""
    found = {}
    for record in split_records(info, split):
        example = parse_example(record, info.num_classes, info.has_background)
        mask = example["label"].numpy()[..., 0] if example["has_mask"] else None
        found[example["name"].numpy().decode()] = mask
    return found


def tags_of(info: DatasetInfo, split: str) -> dict[str, set[int] | None]:
    """Classes of each image of a split by its image-level labels, None where they are unknown."""
    found = {}
    for record in split_records(info, split):
        example = parse_example(record, info.num_classes, info.has_background)
        classes = set((np.flatnonzero(example["image_label"]) + int(info.has_background)).tolist())
        found[example["name"].numpy().decode()] = classes if example["has_image_label"] else None
    return found


def check(info: DatasetInfo, split: str, expected: dict[str, list[str] | None]) -> None:
    """Compares the masks of a split with rows of them; None says that an image has no mask."""
    found = masks_of(info, split)
    assert set(found) == set(expected)
    for id, rows in expected.items():
        if rows is None:
            assert found[id] is None
        else:
            np.testing.assert_array_equal(found[id], drawn(rows), err_msg=id)


class Exports:
    """A folder for an export, and the converters that read it.

    Args:
        root: Folder of all.
        run_script: The fixture.
    """

    def __init__(self, root: Path, run_script):
        self.root, self.folder, self._run = root, root / "export", run_script

    def build(self, *flags: str, folder: Path | None = None, script: str = "build_folder") -> DatasetInfo:
        """Converts the export and returns what was written."""
        flag = {"build_folder": "--export", "build_coco": "--coco_root"}[script]
        output = f"--output_dir={self.root / 'out'}"
        self._run(script, f"{flag}={folder or self.folder}", output, "--overwrite", "--workers=1", *flags)
        return DatasetInfo.load(self.root / "out")

    def edit(self, path: str, change) -> None:
        """Changes a JSON file of the export."""
        content = json.loads((self.folder / path).read_text(encoding="utf-8"))
        change(content)
        write_json(self.folder / path, content)


def line_of(exports: Exports, *flags: str, **options: Any) -> str:
    """Returns the one line that a conversion ends in; nothing is written."""
    with pytest.raises(UserError) as error:
        exports.build(*flags, **options)
    head, *lines = str(error.value).split("\n")
    assert len(lines) < 2 and (not lines or "1 problem:" in head)
    line = lines[0] if lines else head
    assert line.isprintable() and not (exports.root / "out").exists()
    return line
